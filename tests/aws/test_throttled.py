"""Over quota everywhere: readers get EAGAIN in time, and keyfs's retries do not flood AWS."""
import subprocess
import time

import pytest

import cloud
from mount import seen
from mount.seen import within
from support.process import eventually

REGIONS = 3
# kms/region_health.h: tokens for calls beyond what the work needs, at once and a second, for each region.
TOKENS, TOKENS_A_SECOND = 20, 10


def throttle(aws, *services):
    for region in aws.regions:
        for service in services:
            getattr(region, service).fault("error", type="ThrottlingException")


@pytest.fixture
def made(launch):
    maker = launch(name="maker")
    return {f"key-{n}": maker.read(f"key-{n}") for n in range(10)}


@pytest.mark.parametrize("services", [("kms",), ("dynamodb",), ("kms", "dynamodb")], ids="+".join)
def test_throttled_everywhere_is_eagain_within_the_deadline(launch, aws, made, services):
    keyfs = launch(open_deadline="3s")
    keyfs.read("warm")
    throttle(aws, *services)
    for ident in ("key-0", "new"):
        with within(5, "the refusal, with a deadline of 3 s"):
            assert seen.error_name(keyfs.read, ident) == "EAGAIN"
    eventually(lambda: "ThrottlingException" in keyfs.log(), 10, "the reason in the log")
    assert len(keyfs.read("warm")) == 32, "what is cached is served"
    aws.heal()
    for ident, key in made.items():
        eventually(lambda: seen.error_name(keyfs.read, ident) is None, 30, "it's served once the quota is there again")
        assert keyfs.read(ident) == key


def test_many_readers_of_a_throttled_kms_cause_no_storm(launch, aws, calls):
    """Each id's one flight may ask each region once while it's not known to be throttled; whatever is more, other rounds among it, comes from the regions' tokens."""
    maker = launch(name="maker")
    ids = [f"many-{n}" for n in range(60)]
    for ident in ids:
        maker.read(ident)
    keyfs = launch(open_deadline="5s")
    throttle(aws, "kms")
    calls.reset()
    begin = time.monotonic()
    with within(20, "the refusals"):
        done = subprocess.run(["sh", "-c", 'for f in "$@"; do cat "$f" 2>/dev/null >/dev/null && echo served & done; wait', "sh", *map(keyfs.path, ids)],
                              capture_output=True, text=True)
    took = time.monotonic() - begin
    assert done.stdout == ""
    asked = cloud.kms_calls(calls.all())
    assert asked.keys() == {"Decrypt"}, "a key that can't be read is not made anew"
    assert REGIONS <= asked["Decrypt"] <= REGIONS * (len(ids) + TOKENS + TOKENS_A_SECOND * took), (asked, took)


def test_one_throttled_region_is_gone_round_and_asked_less(launch, aws, made, calls):
    aws.regions[0].kms.fault("error", type="ThrottlingException")
    keyfs = launch()
    calls.reset()
    assert {ident: keyfs.read(ident) for ident in made} == made
    asked = calls.by_region()
    assert 1 <= asked["Decrypt", "kms-1"] <= 3 and asked["Decrypt", "kms-2"] + asked["Decrypt", "kms-3"] >= len(made), asked


def test_a_throttled_table_is_not_stormed(launch, aws, table, made):
    """The store's retries come from a budget as well, with growing pauses."""
    keyfs = launch(open_deadline="3s")
    throttle(aws, "dynamodb")
    for region in aws.regions:
        region.dynamodb.record()
    with within(15, "the refusals"):
        done = subprocess.run(["sh", "-c", 'for f in "$@"; do cat "$f" 2>/dev/null && echo served & done; wait', "sh", *map(keyfs.path, made)],
                              capture_output=True)
    assert done.stdout == b""
    asked = [r["values"]["Key"]["id"]["S"] for region in aws.regions for r in region.dynamodb.requests()
             if r["op"] == "GetItem" and r["values"]["TableName"] == table]
    # base/retry.h: 500 tokens, 5 for each retry; each try asks up to three replicas. What is asked of the board has a budget of its own.
    of_keys = [ident for ident in asked if ident in made]
    assert len(made) <= len(of_keys) <= REGIONS * (len(made) + 500 / 5), len(of_keys)
    # From the same budget: which store it is, asked for once by each open at the most.
    assert len(asked) <= REGIONS * (2 * len(made) + 500 / 5), len(asked)

"""DynamoDB is down in every region: keys that this host has seen can still be read, and no others are created."""
import signal

import pytest

import cloud
from mount import seen
from mount.seen import within
from support.process import eventually

SEEN = [f"seen-{n}" for n in range(5)]
WAYS = {"cut": lambda p: p.link("cut"), "hang": lambda p: p.link("hang"), "error 500": lambda p: p.fault("error", type="InternalServerError", status=500),
        "throttled": lambda p: p.fault("error", type="ThrottlingException"), "access denied": lambda p: p.fault("error", type="AccessDeniedException")}


def store_out(aws, way):
    for region in aws.regions:
        WAYS[way](region.dynamodb)


def replica_hits(keyfs):
    return seen.status(keyfs)["replica"]["hits"]


@pytest.mark.parametrize("way", ["cut", "hang", "access denied"])
def test_keys_seen_before_read_from_the_replica_also_after_a_restart(launch, aws, table, way):
    keyfs = launch(cache_keys=1)
    keys = {ident: keyfs.read(ident) for ident in SEEN}
    launch(name="elsewhere").read("not-seen-here")
    store_out(aws, way)
    with within(20, "reading five keys while the store is out"):
        assert {ident: keyfs.read(ident) for ident in SEEN} == keys
    assert replica_hits(keyfs) >= len(SEEN) - 1
    for how in (signal.SIGTERM, signal.SIGKILL):
        keyfs.restart(how)
        with within(20, "reading them after a restart"):
            assert {ident: keyfs.read(ident) for ident in SEEN} == keys
        assert replica_hits(keyfs) == len(SEEN)
    # Any one region is enough for that.
    for region in aws.regions[:2]:
        region.kms.link("cut")
    keyfs.restart()
    assert {ident: keyfs.read(ident) for ident in SEEN} == keys


@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_seen_fails_clearly_and_is_not_made(launch, aws, table, calls, way):
    other = launch(name="elsewhere")
    keyfs = launch(open_deadline="1s")
    keyfs.read("seen-0")
    theirs = other.read("not-seen-here")
    before = cloud.items(aws, table)
    calls.reset()
    store_out(aws, way)
    for ident in ("new", "not-seen-here"):
        with within(6, "the refusal"):
            assert seen.error_name(keyfs.read, ident) in {"throttled": ("EAGAIN",)}.get(way, ("EIO", "ETIMEDOUT"))
        eventually(lambda: f"could not read the record of key {ident}: " in keyfs.log(), 5, f"the reason for {ident}")
    assert seen.error_name(keyfs.read, "seen-0") is None
    assert cloud.kms_calls(calls.all()) == {}, "no data key was made for what may be there"
    aws.heal()
    assert cloud.items(aws, table) == before
    eventually(lambda: seen.error_name(keyfs.read, "not-seen-here") is None, 40, "the store is asked again")
    assert keyfs.read("not-seen-here") == theirs
    eventually(lambda: seen.error_name(keyfs.read, "new") is None, 40, "new keys are made again")
    assert set(cloud.items(aws, table)) == {*before, "new"}


def test_a_record_that_the_store_lost_is_not_made_anew(launch, aws, table):
    """Above all: the host remembers the key, so a miss in the store does not permit another one."""
    keyfs = launch()
    key = keyfs.read("orders")
    item = cloud.items(aws, table)["orders"]
    aws.regions[0].dynamodb_direct("DeleteItem", TableName=table, Key={"id": {"S": "orders"}})
    keyfs.restart()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    eventually(lambda: "no longer has the record of key orders" in keyfs.log(), 5, "the log tells it")  # it is written behind the answer
    assert cloud.items(aws, table) == {}
    aws.regions[0].dynamodb_direct("PutItem", TableName=table, Item=item)
    assert keyfs.read("orders") == key


def test_home_out_of_a_plain_table_means_no_new_keys(launch, aws, table):
    """One region has the table, and it alone can say that an id is new."""
    keyfs = launch(store={"regions": [aws.regions[0].name], "endpoint": [aws.regions[0].dynamodb.url]}, open_deadline="2s")
    key = keyfs.read("orders")
    aws.regions[0].dynamodb.link("cut")
    assert seen.error_name(keyfs.read, "new") in ("EIO", "ETIMEDOUT")
    assert keyfs.read("orders") == key
    assert set(cloud.items(aws, table)) == {"orders"}

"""The preferred region hangs or is slow: readers hardly notice, and it is preferred again once it has recovered. Bounds are generous: seconds below the
deadline, where a reader without hedging would wait for all of it."""
import cloud
import pytest

from mount import seen
from mount.seen import within
from support.process import eventually

KEYS = 12


def cold(launch, **options):
    """A daemon that has read enough to know how fast its regions are, and keys that it has not read."""
    maker = launch(name="maker")
    keys = {f"key-{n}": maker.read(f"key-{n}") for n in range(2 * KEYS)}
    keyfs = launch(name="reader", **options)
    for n in range(KEYS):
        assert keyfs.read(f"key-{n}") == keys[f"key-{n}"]
    return keyfs, {f"key-{n}": keys[f"key-{n}"] for n in range(KEYS, 2 * KEYS)}


@pytest.mark.parametrize("how", ["hang", "blackhole"])
def test_cold_reads_go_on_while_the_preferred_region_hangs(launch, aws, how):
    keyfs, keys = cold(launch, open_deadline="30s")
    hedges = seen.total(keyfs, "keyfs_region_hedges_total")
    aws.regions[0].kms.link(how)
    # Each costs a hedge delay (20 ms to 2 s) until its breaker opens, three reads later.
    with within(10, f"{KEYS} cold reads"):
        for ident, key in keys.items():
            with within(4, "a cold read"):
                assert keyfs.read(ident) == key
    assert seen.total(keyfs, "keyfs_region_hedges_total") > hedges
    assert seen.total(keyfs, "keyfs_region_given_up_total", region=aws.regions[0].name) >= 1


def test_a_region_that_hangs_from_the_start_costs_a_reader_no_deadline(launch, aws):
    maker = launch(name="maker")
    key = maker.read("orders")
    aws.regions[0].kms.link("hang")
    aws.regions[0].dynamodb.link("hang")
    with within(8, "the start of a daemon and its first cold read"):
        assert launch(open_deadline="30s").read("orders") == key


def test_a_region_that_hangs_is_not_asked_by_every_reader(launch, aws, calls):
    keyfs, keys = cold(launch)
    aws.regions[0].kms.link("hang")
    calls.reset()
    with within(8, f"{KEYS} cold reads"):
        assert {ident: keyfs.read(ident) for ident in keys} == keys
    asked_in_order = [r["name"] for r in seen.status(keyfs)["regions"]]
    assert asked_in_order[0] != aws.regions[0].name
    # One reader learned it; an occasional probe (at most once a second) shows whether it is back.
    assert seen.total(keyfs, "keyfs_region_hedges_total") + seen.total(keyfs, "keyfs_region_given_up_total", region=aws.regions[0].name) < KEYS


def test_the_preferred_region_is_asked_again_once_it_answers(launch, aws, calls):
    keyfs, keys = cold(launch, cache_keys=1)
    aws.regions[0].kms.link("hang")
    for ident, key in keys.items():
        assert keyfs.read(ident) == key
    aws.heal()

    def asked_again():
        for ident, key in keys.items():
            assert keyfs.read(ident) == key
        return aws.regions[0].kms.calls("Decrypt", "completed") >= 1

    eventually(asked_again, 60, "a read is asked of it")


def test_a_new_key_does_not_wait_for_a_region_that_hangs(launch, aws, table):
    """It's wrapped in the others, and the region is filled in later."""
    keyfs, _ = cold(launch, open_deadline="30s")
    aws.regions[2].kms.link("hang")
    with within(8, "a creation"):
        keyfs.read("new")
    assert cloud.wrapped_in(cloud.records(aws, table)["new"]) == {r.name for r in aws.regions[:2]}

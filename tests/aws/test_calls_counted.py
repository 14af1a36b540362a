"""keyfs's calls to AWS, counted at the proxies: what a read and a creation cost, and which calls are never made."""
import contextlib
import os
import subprocess
import sys

import cloud
from mount import seen
from support.process import eventually, spawn, stop

REGIONS = 3


def opened(keyfs, ident):
    """Opens it and reads nothing: a read(2) may have the key checked, and how many of them a read of a whole file takes is not to be told."""
    os.close(os.open(keyfs.path(ident), os.O_RDONLY))


def hedges(keyfs):
    """Calls to a second region, beside one that took unusually long: on a busy machine there are some."""
    return int(seen.total(keyfs, "keyfs_region_hedges_total"))


def settled(launch, **options):
    """A running daemon that has described the table and its keys and knows which store it is, as it does once after its start."""
    keyfs = launch(**options)
    opened(keyfs, "first")
    eventually(lambda: os.path.exists(os.path.join(keyfs.state_dir, "store-id")), 20, "the store is remembered")
    return keyfs


def test_a_creation_is_one_generate_an_encrypt_for_each_other_region_and_one_conditional_put(launch, calls, aws):
    keyfs = settled(launch)
    for region in aws.regions:
        region.dynamodb.record()
    calls.reset()
    keyfs.read("orders")
    # The look that found nothing: an eventually consistent one, which may be behind, and a consistent one, which decides. The last one sees
    # that it is the same store still.
    assert calls.all() == {"GetItem": 3, "GenerateDataKey": 1, "Encrypt": REGIONS - 1, "PutItem": 1}
    requests = sorted((r for region in aws.regions for r in region.dynamodb.requests()), key=lambda r: r["at"])
    assert [(r["op"], r["values"].get("ConsistentRead")) for r in requests] == [("GetItem", False), ("GetItem", True), ("PutItem", None), ("GetItem", True)]
    assert requests[3]["values"]["Key"] == {"id": {"S": ".keyfs-store"}}
    assert requests[2]["values"]["ConditionExpression"] == "attribute_not_exists(id)"
    assert requests[2]["values"]["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_a_cold_read_is_one_decrypt_and_one_get_and_a_check_behind(launch, calls):
    maker = settled(launch)
    keys = {f"key-{n}": maker.read(f"key-{n}") for n in range(3)}
    # It learns which table it is by a key that isn't there: of no key a check is under way then.
    reader = launch(policy={"nobody": {"read": "any"}, "*": seen.EVERYTHING})
    assert seen.error_name(reader.read, "nobody") == "ENOENT"
    eventually(lambda: os.path.exists(os.path.join(reader.state_dir, "store-id")), 20, "the store is remembered")
    before = hedges(reader)
    calls.reset()
    for n, (ident, key) in enumerate(keys.items(), 1):
        assert reader.read(ident) == key
        # What was found may be old: it is served, and checked at once by a consistent read.
        eventually(lambda: seen.total(reader, "keyfs_refreshes_total", outcome="ok") == n, 20, "the check behind it")
        assert calls.all() == {"GetItem": 2 * n, "Decrypt": n + hedges(reader) - before}


def test_a_warm_read_asks_nothing(launch, calls):
    keyfs = settled(launch)
    calls.reset()
    for _ in range(50):
        keyfs.read("first")
    assert calls.all() == {}


def test_a_refresh_of_an_unchanged_key_asks_the_store_and_no_region(launch, calls):
    keyfs = settled(launch, fresh_for="0s")
    calls.reset()
    for n in range(1, 4):
        opened(keyfs, "first")
        eventually(lambda: seen.total(keyfs, "keyfs_refreshes_total", outcome="ok") == n, 20, f"{n} checks")
    assert calls.all() == {"GetItem": 3}


def test_listing_and_describing_ask_no_region(launch, calls):
    keyfs = settled(launch)
    keyfs.cli("list")
    calls.reset()
    assert subprocess.run(["ls", "-la", keyfs.mount], capture_output=True).returncode == 0
    assert keyfs.cli("list").returncode == 0
    assert keyfs.cli("describe", "first").returncode == 0
    assert cloud.kms_calls(calls.all()) == {}


MANY = """
import hashlib, os, sys, threading
path, count = sys.argv[1], int(sys.argv[2])
threading.stack_size(65536)
found, begin = [], threading.Event()
def read():
    begin.wait()
    fd = os.open(path, os.O_RDONLY)
    found.append(os.read(fd, 4096))
    os.close(fd)
threads = [threading.Thread(target=read) for _ in range(count)]
for t in threads: t.start()
print("ready", flush=True)
sys.stdin.readline()
begin.set()
for t in threads: t.join()
print(len(found), *{hashlib.sha256(key).hexdigest() for key in found}, flush=True)
"""


@contextlib.contextmanager
def readers(path, processes, threads):
    """Processes whose threads all open at once. Each prints how many read, and a digest of each key that they saw."""
    children = [spawn([sys.executable, "-c", MANY, path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for child in children:
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            child.stdin.write(b"\n")
            child.stdin.flush()
        yield children
    finally:
        for child in children:
            child.stdin.close()
            stop(child)


def test_a_thousand_cold_readers_of_one_id_cost_one_decrypt(launch, calls, aws):
    settled(launch).read("popular")
    reader = settled(launch, open_deadline="60s")
    before = hedges(reader)
    calls.reset()
    # Nobody is answered until all of them wait. It's the store that is slow: a slow region would be hedged, and rightly so.
    for region in aws.regions:
        region.dynamodb.link("hang")
    with readers(reader.path("popular"), 10, 100) as children:
        eventually(lambda: seen.status(reader)["keyring"]["waiting_opens"] == 1000, 60, "all of them wait")
        for region in aws.regions:
            region.dynamodb.link("pass")
        answers = [child.stdout.readline().split() for child in children]
    assert [int(count) for count, *_ in answers] == [100] * 10
    assert len({tuple(digests) for _, *digests in answers}) == 1 and len(answers[0]) == 2, "all read the same key"
    assert cloud.kms_calls(calls.all()) == {"Decrypt": 1 + hedges(reader) - before}

"""Wraps that were damaged in the SQLite file: the daemon mends what it sees, and `keyfs heal` verifies every wrap of every key."""
import base64
import contextlib
import json
import os
import sqlite3

import pytest

from support.cli import DONE, FAILED, PARTIAL, run
from support.daemon import unmount
from support.process import eventually

ALL = ["local-a", "local-b", "local-c"]


@pytest.fixture
def store(folder):
    where = folder / "d"
    assert run("create", "--embedded", where, "orders").returncode == DONE
    return where


@contextlib.contextmanager
def wraps_of(store):
    """The wraps of its version 1 by region, to be changed in the store."""
    with sqlite3.connect(store / "keys.db") as db:
        record = json.loads(db.execute("SELECT record FROM records WHERE id = 'orders'").fetchone()[0])
        yield record["versions"]["1"]["wrapped"]
        db.execute("UPDATE records SET record = ?, revision = revision + 1 WHERE id = 'orders'", (json.dumps(record),))
    db.close()


def damage(store, *regions):
    with wraps_of(store) as wraps:
        for region in regions:
            blob = bytearray(base64.b64decode(wraps[region]["blob"]))
            blob[-1] ^= 1
            wraps[region]["blob"] = base64.b64encode(blob).decode()


def exchange(store, *regions):
    """Each has the wrap of the next one."""
    with wraps_of(store) as wraps:
        wraps.update(dict(zip(regions, [wraps[region] for region in regions[1:] + regions[:1]])))


def blobs(store):
    db = sqlite3.connect(store / "keys.db")
    wraps = json.loads(db.execute("SELECT record FROM records WHERE id = 'orders'").fetchone()[0])["versions"]["1"]["wrapped"]
    db.close()
    return {region: wrap["blob"] for region, wrap in wraps.items()}


def read(store, place):
    assert run("mount", "--embedded", store, place).returncode == DONE
    try:
        return (place / "orders").read_bytes()
    finally:
        unmount(place)


def only(store, region):
    """The masters of the other regions are lost."""
    for name in ALL:
        if name != region:
            os.rename(store / "masters" / f"{name}.key", store / f"{name}.away")


@pytest.mark.parametrize("ids", [[], ["orders"]], ids=["all keys", "by id"])
@pytest.mark.parametrize("left", ["local-a", "local-b"])
def test_heal_replaces_broken_wraps_and_the_key_is_read_with_only_that_region_left(store, place, left, ids):
    key = read(store, place)
    damage(store, "local-a", "local-b")
    healed = run("heal", "--embedded", store, *ids)
    assert healed.returncode == DONE and "0 whole" in healed.stdout and "1 mended" in healed.stdout, healed
    assert "1 whole" in run("heal", "--embedded", store, *ids).stdout
    only(store, left)
    assert read(store, place) == key


@pytest.mark.parametrize("spoil", [damage, exchange])
def test_heal_of_a_key_with_no_right_wrap_left_fails_and_changes_nothing(store, spoil):
    spoil(store, *ALL)
    before = blobs(store)
    healed = run("heal", "--embedded", store)
    assert healed.returncode == FAILED and "orders" in healed.stderr, healed
    assert blobs(store) == before


@pytest.mark.parametrize("ids", [[], ["orders"]], ids=["all keys", "by id"])
def test_wraps_that_two_regions_have_exchanged_are_made_anew(store, place, ids):
    key = read(store, place)
    exchange(store, "local-a", "local-b")
    healed = run("heal", "--embedded", store, *ids)
    assert healed.returncode == DONE and "0 whole" in healed.stdout and "1 mended" in healed.stdout, healed
    only(store, "local-a")
    assert read(store, place) == key


def test_a_region_that_cannot_be_asked_is_not_verified_and_its_wrap_stays(store):
    damage(store, "local-a", "local-b")
    before = blobs(store)
    os.rename(store / "masters" / "local-a.key", store / "away.key")
    healed = run("heal", "--embedded", store)
    assert healed.returncode == PARTIAL and "1 mended" in healed.stdout and "1 not verified" in healed.stdout, healed
    assert "not verified in local-a" in healed.stderr
    after = blobs(store)
    assert after["local-a"] == before["local-a"] and after["local-b"] != before["local-b"]
    told = json.loads(run("heal", "--embedded", store, "--json").stdout)
    assert (told["whole"], told["mended"]) == (0, 0)
    assert [(k["id"], [r["region"] for r in k["regions"]]) for k in told["unverified"]] == [("orders", ["local-a"])]
    os.rename(store / "away.key", store / "masters" / "local-a.key")
    assert "1 mended" in run("heal", "--embedded", store).stdout


def test_a_broken_wrap_that_the_daemon_meets_is_mended_by_itself(store, place):
    key = read(store, place)
    damage(store, "local-a")
    before = blobs(store)
    assert run("mount", "--embedded", store, place).returncode == DONE
    try:
        assert (place / "orders").read_bytes() == key
        eventually(lambda: blobs(store)["local-a"] != before["local-a"], 30, "the wrap is replaced")
    finally:
        unmount(place)
    only(store, "local-a")
    assert read(store, place) == key

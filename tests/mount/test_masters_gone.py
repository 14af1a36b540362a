"""Lost master keys: any one is enough; without any, nothing new is created; once restored, everything is as before."""
import itertools
import os

import pytest

import seen
from support.daemon import master_file
from support.process import eventually

KEYS = [f"key-{n}" for n in range(12)]
REGIONS = ("local-a", "local-b", "local-c")


@pytest.fixture
def made(launch):
    """Twelve keys, made by a daemon that is gone."""
    maker = launch()
    keys = {ident: maker.read(ident) for ident in KEYS}
    maker.terminate()
    return keys


def take_away(*paths):
    for path in paths:
        os.rename(path, f"{path}.away")


def put_back(*paths):
    for path in paths:
        os.rename(f"{path}.away", path)


@pytest.mark.parametrize("gone", list(itertools.combinations(REGIONS, 2)), ids="+".join)
def test_any_two_gone_every_key_reads(launch, made, masters, gone):
    take_away(*(masters[name] for name in gone))
    keyfs = launch()  # it has nothing cached
    assert {ident: keyfs.read(ident) for ident in KEYS} == made
    assert keyfs.terminate() == 0


def test_they_go_while_it_runs(launch, made, masters):
    keyfs = launch(cache_keys=1, fresh_for="0s")  # so that nearly each read needs a master
    for gone in itertools.combinations(REGIONS, 2):
        take_away(*(masters[name] for name in gone))
        assert {ident: keyfs.read(ident) for ident in KEYS} == made
        put_back(*(masters[name] for name in gone))


def test_all_gone_and_put_back(launch, made, masters, db):
    before = seen.texts(db)
    take_away(*masters.values())
    keyfs = launch()
    for ident in [*KEYS, "new-1", "new-2"]:
        assert seen.error_name(keyfs.read, ident) in ("EACCES", "EIO")
    assert seen.texts(db) == before, "nothing may be made or changed"
    eventually(lambda: "restore it from its backup" in keyfs.log() and "local-a.key" in keyfs.log(), 10, "the log tells what to do")
    # A refusal's line is written behind its answer.
    eventually(lambda: {line["id"] for line in keyfs.audit() if line["verdict"] == "failed"} == {*KEYS, "new-1", "new-2"}, 10, "each refusal has its line")
    assert {line["errno"] for line in keyfs.audit() if line["verdict"] == "failed"} <= {"EACCES", "EIO"}
    put_back(*masters.values())
    eventually(lambda: seen.error_name(keyfs.read, KEYS[0]) is None, 40, "the regions are tried again")
    assert {ident: keyfs.read(ident) for ident in KEYS} == made
    assert len(keyfs.read("new-1")) == 32


def test_others_in_their_place_never_lead_to_another_key(launch, made, masters, db):
    """New masters, as somebody who lost them might create: the keys can't be read, but are not replaced."""
    before = seen.texts(db)
    take_away(*masters.values())
    for path in masters.values():
        master_file(path)
    keyfs = launch()
    for ident in KEYS:
        assert seen.error_name(keyfs.read, ident) == "EBADMSG"
    assert seen.texts(db) == before
    keyfs.terminate()
    for path in masters.values():
        os.unlink(path)
    put_back(*masters.values())
    again = launch()
    assert {ident: again.read(ident) for ident in KEYS} == made


def test_masters_that_others_can_read_are_refused(launch, made, masters, db):
    before = seen.texts(db)
    keyfs = launch(cache_keys=1)
    for path in masters.values():
        path.chmod(0o640)
    assert seen.error_name(keyfs.read, KEYS[0]) == "EIO", "it is no refusal of the caller"
    assert seen.error_name(keyfs.read, "new") == "EIO"
    eventually(lambda: "chmod 600" in keyfs.log(), 10, "the log tells what to do")
    assert seen.texts(db) == before
    masters["local-b"].chmod(0o600)
    eventually(lambda: seen.error_name(keyfs.read, KEYS[0]) is None, 40, "the region is tried again")
    assert {ident: keyfs.read(ident) for ident in KEYS} == made


@pytest.mark.parametrize("what", ["file", "directory"])
def test_it_does_not_start_with_masters_only_that_others_can_use(launch, made, masters, what):
    keyfs = launch(start=False)
    for path in masters.values():
        (path if what == "file" else path.parent).chmod(0o777)
    done = keyfs.mount_in_vain()
    assert done.returncode == 1 and "no region can be used" in done.stderr and done.stderr.count("\n") == 1, done
    assert all(str(path) in done.stderr for path in masters.values())
    assert {name for name in REGIONS if f"{name}: master key" in done.stderr} == set(REGIONS)


def test_it_starts_with_one_that_others_cannot_use_and_says_what_is_wrong_with_the_others(launch, made, masters):
    masters["local-a"].chmod(0o640)
    masters["local-c"].chmod(0o640)
    keyfs = launch()
    assert {ident: keyfs.read(ident) for ident in KEYS} == made
    for name in ("local-a", "local-c"):
        keyfs.logged("a region is not used", f"{name}: master key {masters[name]}")


@pytest.mark.parametrize("spoil", ["", "x" * 31, "x" * 33, "\0" * 32], ids=["empty", "short", "long", "zeroes"])
def test_a_damaged_master_is_no_master(launch, made, masters, db, spoil):
    before = seen.texts(db)
    keep = {path: path.read_bytes() for path in masters.values()}
    for path in masters.values():
        path.write_text(spoil)
    keyfs = launch()
    assert seen.error_name(keyfs.read, KEYS[0]) in ("EACCES", "EIO")
    assert seen.error_name(keyfs.read, "new") in ("EACCES", "EIO")
    assert seen.texts(db) == before
    for path, key in keep.items():
        path.write_bytes(key)
    eventually(lambda: seen.error_name(keyfs.read, KEYS[0]) is None, 40, "the regions are tried again")
    assert keyfs.read(KEYS[0]) == made[KEYS[0]]


def test_fewer_regions_than_asked_for_make_no_key(launch, made, masters, db):
    """create_min_regions is 2 of 3 here: with one region a new key is refused, those that exist are read; with two it is made, and the third filled in later."""
    take_away(masters["local-a"], masters["local-b"])
    keyfs = launch()
    assert seen.error_name(keyfs.read, "new") in ("EIO", "EACCES")
    assert "new" not in seen.records(db)
    eventually(lambda: "1 of 2" in keyfs.log() and "could not create key new" in keyfs.log(), 10, "the log tells why")
    assert keyfs.read(KEYS[0]) == made[KEYS[0]]
    put_back(masters["local-b"])
    key = eventually(lambda: try_read(keyfs, "new"), 40, "the region is tried again")
    wrapped = seen.records(db)["new"]["versions"]["1"]["wrapped"]
    assert wrapped.keys() == {"local-b", "local-c"}
    put_back(masters["local-a"])
    eventually(lambda: seen.records(db)["new"]["versions"]["1"]["wrapped"].keys() == set(REGIONS), 60, "the healer fills in what is missing")
    take_away(masters["local-b"], masters["local-c"])
    other = launch()
    assert other.read("new") == key == keyfs.read("new")


def try_read(keyfs, ident):
    try:
        return keyfs.read(ident)
    except OSError:
        return None

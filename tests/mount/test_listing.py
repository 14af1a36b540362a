"""What `ls` shows: the existing keys that the caller may read; soon the same on every daemon."""
import os
import sqlite3
import subprocess

import seen
from seen import within
from support.process import eventually, spawn, stop
from support.users import UserProcess

APP, OTHER = 4001, 4002
POLICY = {"app-*": {"read": f"uid:{APP}"}, "both-*": {"read": f"uid:{APP}, uid:{OTHER}, uid:0", "create": "uid:0"},
          "root-*": seen.EVERYTHING}


def names(keyfs):
    return set(os.listdir(keyfs.mount)) - {".keyfs"}


def test_an_empty_store_is_an_empty_directory(launch):
    keyfs = launch()
    assert names(keyfs) == set()
    assert os.stat(keyfs.path("anything")).st_size == 32  # that it might be made doesn't list it
    assert names(keyfs) == set()


def test_sizes_of_keys_that_nobody_read_yet_are_true(launch):
    """Keys keep the size they were made with; one that was neither listed nor read is looked up for who may read it."""
    keyfs = launch()
    assert keyfs.cli("create", "--bytes", "64", "large", "larger").returncode == 0
    assert os.stat(keyfs.path("large")).st_size == 64
    calls = seen.region_calls(keyfs)
    eventually(lambda: names(keyfs) == {"large", "larger"}, 10, "both are listed")
    assert os.stat(keyfs.path("large")).st_size == 64
    assert os.stat(keyfs.path("larger")).st_size == 64
    assert subprocess.run(["wc", "-c", keyfs.path("larger")], capture_output=True, text=True).stdout.split()[0] == "64"
    assert seen.region_calls(keyfs) == calls + 1, "only wc made it unwrap one"


def test_what_was_made_here_is_listed_at_once(launch):
    keyfs = launch(list_cache_for="1h")
    for n in range(10):
        assert names(keyfs) == {f"key-{m}" for m in range(n)}
        keyfs.read(f"key-{n}")


def test_what_was_made_elsewhere_is_listed_soon(launch):
    one, two = launch(), launch()
    assert names(two) == set()
    one.read("orders")
    eventually(lambda: names(two) == {"orders"}, 10, "within list_cache_for, 2 s")


def test_each_sees_what_it_may_read(launch):
    maker = launch(policy={"*": seen.EVERYTHING})
    for ident in ("app-1", "app-2", "both-1", "root-1", "unmatched"):
        maker.read(ident)
    keyfs = launch(policy=POLICY)
    with UserProcess(APP, APP) as app, UserProcess(OTHER, OTHER) as other, UserProcess(0, 0) as root:
        assert set(app.listdir(keyfs.mount)) == {"app-1", "app-2", "both-1"}
        assert set(other.listdir(keyfs.mount)) == {"both-1"}
        assert set(root.listdir(keyfs.mount)) == {"both-1", "root-1", ".keyfs"}


def test_deleted_keys_go_and_disabled_ones_stay(launch):
    keyfs = launch(list_cache_for="0s")
    for ident in ("kept", "disabled", "deleted"):
        keyfs.read(ident)
    assert keyfs.cli("disable", "disabled").returncode == 0
    assert keyfs.cli("delete", "--yes", "deleted").returncode == 0
    eventually(lambda: names(keyfs) == {"kept", "disabled"}, 10, "the deleted one is gone")


def test_a_record_that_is_damaged_spoils_no_listing(launch, db):
    keyfs = launch(list_cache_for="0s")
    for ident in ("one", "two", "three"):
        keyfs.read(ident)
    seen.put_text(db, "two", "lorem ipsum")
    other = launch(list_cache_for="0s")
    assert {"one", "three"} <= names(other)
    assert subprocess.run(["ls", "-la", other.mount], capture_output=True).returncode == 0


def test_inode_numbers_agree_with_stat_and_stay(launch):
    keyfs = launch()
    for n in range(20):
        keyfs.read(f"key-{n}")
    inodes = {entry.name: entry.inode() for entry in os.scandir(keyfs.mount)}
    assert len(set(inodes.values())) == len(inodes)
    assert {name: os.stat(keyfs.path(name)).st_ino for name in inodes if name != ".keyfs"} == {n: i for n, i in inodes.items() if n != ".keyfs"}
    keyfs.restart()
    assert {entry.name: entry.inode() for entry in os.scandir(keyfs.mount)} == inodes


def fill(keyfs, db, count):
    """key-0 to key-(count - 1)"""
    keyfs.read("key-0")
    text = seen.texts(db)["key-0"]
    with seen.store(db) as store:
        store.execute("BEGIN")
        first = store.execute("SELECT max(revision) FROM records").fetchone()[0]
        store.executemany("INSERT INTO records VALUES (?, ?, ?)", ((f"key-{n}", text.replace('"key-0"', f'"key-{n}"'), first + n) for n in range(1, count)))
        store.execute("COMMIT")


def test_a_thousand_keys_are_listed_whole(launch, db):
    """Made in the store by hand, from the record of one: they are listed, not unwrapped."""
    keyfs = launch(list_cache_for="0s")
    fill(keyfs, db, 5000)
    calls = seen.region_calls(keyfs)
    expected = {f"key-{n}" for n in range(5000)}
    eventually(lambda: names(keyfs) == expected, 10, "all are listed")
    assert len(os.listdir(keyfs.mount)) == 5001
    listed = subprocess.run(["find", keyfs.mount, "-type", "f", "-name", "key-*"], capture_output=True, text=True, check=True).stdout.split()
    assert len(listed) == 5000
    assert seen.region_calls(keyfs) == calls


def test_a_store_that_takes_longer_than_open_deadline_is_listed_whole(launch, db):
    fill(launch(), db, 30_000)  # making a key may take longer, on a busy disk
    keyfs = launch(list_cache_for="0s", open_deadline="400ms")
    listed = os.listdir(keyfs.mount)
    assert len(listed) == 30_001 and len(set(listed)) == 30_001
    with UserProcess(OTHER, OTHER) as other:
        assert other.listdir(keyfs.mount) == []


def test_a_store_locked_by_another_program_holds_up_no_listing(launch, db):
    """Another process keeps the SQLite file locked for writing: listing works, creators wait and can be killed."""
    keyfs = launch(list_cache_for="0s")
    key = keyfs.read("orders")
    keyfs.restart()
    assert keyfs.read("orders") == key
    locker = sqlite3.connect(db, timeout=20, isolation_level=None)
    try:
        locker.execute("BEGIN IMMEDIATE")
        assert names(keyfs) == {"orders"}
        process = spawn(["cat", keyfs.path("new")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        seen.await_hanging([process])
        try:
            assert names(keyfs) == {"orders"} and keyfs.read("orders") == key
            with within(1, "the death of one who waits for the store"):
                process.kill()
                process.wait(20)
        finally:
            stop(process)
            process.stderr.close()
    finally:
        locker.close()
    assert len(keyfs.read("new")) == 32

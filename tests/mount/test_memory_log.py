"""What this host has seen outlives a kill -9 whatever becomes of SQLite's -wal file, and a path to it that leads elsewhere now."""
import os
import shutil

import pytest

import seen
from support.process import eventually


def flip(path):
    with open(path, "r+b") as f:
        f.seek(100)  # in the first frame
        byte = f.read(1)
        f.seek(100)
        f.write(bytes([byte[0] ^ 1]))


def halve(path):
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
    os.truncate(path, 0)


DAMAGES = {"one bit changed": flip, "cut in half": halve, "emptied": empty, "removed": os.remove}


def damage(log, how):
    """An empty one, or none, is what there is to find: then there is nothing in it to be lost."""
    if os.path.exists(log) and (os.path.getsize(log) > 100 or how == "removed"):
        DAMAGES[how](log)


def makes_no_second_key(keyfs, db, ident):
    seen.forget_row(db, ident)
    checked = keyfs.cli("check")
    assert checked.returncode != 0, checked.stdout + checked.stderr
    done = keyfs.cli("create", ident)
    assert done.returncode == 1, done.stdout + done.stderr
    keyfs.start()
    assert seen.error_name(keyfs.read, ident) == "EBADMSG"
    assert ident not in seen.texts(db)


@pytest.mark.parametrize("how", DAMAGES)
def test_no_id_is_forgotten_with_the_write_ahead_log_of_a_killed_keyfs(launch, db, how):
    keyfs = launch()
    keyfs.read("orders")  # created: handed out only once it is noted
    keyfs.kill()
    damage(f"{keyfs.state_dir}/replica.db-wal", how)
    makes_no_second_key(keyfs, db, "orders")


def test_a_copy_of_the_memory_without_its_log_knows_each_created_key(launch, db):
    keyfs = launch()
    for n in range(20):
        keyfs.read(f"orders-{n}")
    replica = f"{keyfs.state_dir}/replica.db"
    shutil.copy(replica, replica + ".copy")
    keyfs.kill()
    for end in ("-wal", "-shm"):
        if os.path.exists(replica + end):
            os.remove(replica + end)
    os.rename(replica + ".copy", replica)
    makes_no_second_key(keyfs, db, "orders-19")


def test_beside_a_keyfs_that_lost_its_log_and_index_nobody_makes_a_second_key(launch, db):
    keyfs = launch()
    key = keyfs.read("orders")
    for end in ("-wal", "-shm"):
        os.remove(f"{keyfs.state_dir}/replica.db{end}")
    seen.forget_row(db, "orders")
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1, done.stdout + done.stderr
    second = launch(name="second", state_dir=keyfs.state_dir)
    assert seen.error_name(second.read, "orders") == "EBADMSG"
    assert seen.texts(db) == {}
    assert keyfs.read("orders") == key, "what is there is served"
    assert seen.error_name(keyfs.read, "new") == "EIO", "and this one, which would note it where nobody looks, makes none"
    eventually(lambda: "was removed or replaced while keyfs had it open" in keyfs.log(), 10, "the log tells it")


@pytest.mark.parametrize("link", ["state_dir", "a directory above it"])
def test_a_link_to_the_memory_that_leads_elsewhere_now_makes_no_second_key(launch, db, folder, link):
    places = folder / "places"
    for name in ("one", "two"):
        (places / name / "state").mkdir(mode=0o700, parents=True)
    if link == "state_dir":
        os.symlink(places / "one" / "state", places / "link")
        state_dir, other = places / "link", places / "two" / "state"
    else:
        os.symlink("one", places / "link")
        state_dir, other = places / "link" / "state", "two"
    keyfs = launch(state_dir=str(state_dir))
    key = keyfs.read("orders")
    os.remove(places / "link")
    os.symlink(other, places / "link")
    seen.forget_row(db, "orders")
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a link in its path leads elsewhere now" in done.stderr, done.stderr
    second = launch(name="second", state_dir=str(state_dir))
    assert seen.error_name(second.read, "orders") == "EIO"
    assert seen.texts(db) == {}
    assert keyfs.read("orders") == key

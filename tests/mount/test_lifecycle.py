"""Keys that are disabled, enabled, deleted: on the daemon that has them cached, on others, after restarts."""
import json
import os
import time

import pytest

import seen
from support.process import eventually
from support.users import UserProcess


def done(result, code=0):
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result


def test_disabled_then_enabled_gives_the_same_bytes(launch):
    keyfs, other = launch(fresh_for="0s"), launch(fresh_for="0s")
    key, else_key = keyfs.read("orders"), keyfs.read("else")
    assert other.read("orders") == key
    done(keyfs.cli("disable", "orders"))
    for daemon in (keyfs, other):
        eventually(lambda: seen.error_name(daemon.read, "orders") == "EKEYREVOKED", 10, "it is refused")
        assert daemon.read("else") == else_key
    done(keyfs.cli("enable", "orders"))
    for daemon in (keyfs, other):
        eventually(lambda: seen.error_name(daemon.read, "orders") is None, 10, "it is served again")
        assert daemon.read("orders") == key


def test_the_bound_is_fresh_for_and_one_read(launch):
    """Served for fresh_for and one read more at most, as the manual promises: the read that starts the check."""
    keyfs = launch(fresh_for="500ms")
    keyfs.read("orders")
    confirmed = time.monotonic()  # or earlier
    done(keyfs.cli("disable", "orders"))
    late = 0
    while True:
        checks, began = seen.total(keyfs, "keyfs_refreshes_total"), time.monotonic()
        error = seen.error_name(keyfs.read, "orders")
        if error is not None:
            assert error == "EKEYREVOKED"
            break
        late += began > confirmed + 0.5
        assert late <= 1, "served once more after the check that a late read had started was done"
        if late:
            eventually(lambda: seen.total(keyfs, "keyfs_refreshes_total") > checks, 10, "the check is done")
    for _ in range(20):
        assert seen.error_name(keyfs.read, "orders") == "EKEYREVOKED", "never served again"


def test_a_daemon_that_never_had_it_refuses_it_from_the_beginning(launch):
    keyfs = launch()
    keyfs.read("orders")
    done(keyfs.cli("disable", "orders"))
    other = launch()
    for _ in range(3):
        assert seen.error_name(other.read, "orders") == "EKEYREVOKED"


def test_files_that_are_open_stop_to_be_served_too(launch):
    keyfs = launch(fresh_for="0s")
    key = keyfs.read("orders")
    with UserProcess(0, 0) as user:
        fd = user.open(keyfs.path("orders"))
        assert user.pread(fd, 100, 0) == key
        done(keyfs.cli("disable", "orders"))
        eventually(lambda: seen.error_name(user.pread, fd, 100, 0) == "EKEYREVOKED", 10, "the open file is refused")
        done(keyfs.cli("enable", "orders"))
        eventually(lambda: seen.error_name(user.pread, fd, 100, 0) is None, 10, "and served again")
        assert user.pread(fd, 100, 0) == key


def test_deleted_is_for_ever(launch, db):
    keyfs = launch(fresh_for="0s")
    keyfs.read("orders")
    done(keyfs.cli("delete", "--yes", "orders"))
    eventually(lambda: seen.error_name(keyfs.read, "orders") == "EKEYREVOKED", 10, "it is refused")
    assert keyfs.cli("enable", "orders").returncode == 1
    assert keyfs.cli("create", "orders").returncode != 2
    tombstone = seen.records(db)["orders"]
    assert tombstone["state"] == "deleted" and tombstone["versions"]["1"]["wrapped"] == {} and tombstone["versions"]["1"]["destroyed"]
    # Whoever puts the state back in the database has nothing to serve.
    seen.put_text(db, "orders", json.dumps({**tombstone, "state": "enabled", "serial": tombstone["serial"] + 1}))
    assert seen.error_name(launch(name="fresh").read, "orders") is not None
    seen.put_text(db, "orders", json.dumps(tombstone))
    keyfs.restart()
    other = launch()
    for daemon in (keyfs, other):
        assert seen.error_name(daemon.read, "orders") == "EKEYREVOKED"
    assert seen.records(db)["orders"]["state"] == "deleted"


def test_created_by_command_line_read_in_the_mount(launch):
    keyfs = launch(policy={"*": {"read": "uid:0", "admin": "uid:0"}})
    assert seen.error_name(keyfs.read, "orders") == "ENOENT"
    made = json.loads(done(keyfs.cli("create", "--json", "orders")).stdout)["keys"][0]
    assert (made["id"], made["created"], made["version"]) == ("orders", True, 1)
    key = keyfs.read("orders")
    assert len(key) == 32
    again = json.loads(done(keyfs.cli("create", "--json", "orders")).stdout)["keys"][0]
    assert again["created"] is False
    assert launch().read("orders") == key


def test_created_with_another_size(launch):
    keyfs = launch()
    done(keyfs.cli("create", "--bytes", "64", "longer"))
    assert len(keyfs.read("longer")) == 64
    assert os.stat(keyfs.path("longer")).st_size == 64
    fd = os.open(keyfs.path("longer"), os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == 64
    finally:
        os.close(fd)


@pytest.mark.parametrize("command", ["disable", "enable", "delete"])
def test_who_is_no_admin_changes_nothing(launch, db, command):
    keyfs = launch(policy={"*": {"read": "uid:0", "create": "uid:0"}})
    keyfs.read("orders")
    before = seen.texts(db)
    result = keyfs.cli(command, *(["--yes"] if command == "delete" else []), "orders")
    assert result.returncode == 1 and "admin" in result.stderr
    assert seen.texts(db) == before

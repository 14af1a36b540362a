"""What a host has seen limits what it accepts later, in every way: opening, the command line, a restart."""
import json
import os
import shutil
import sqlite3

import pytest

import seen
from support.process import eventually


def makes_no_second_key(keyfs, db):
    """Its record was seen, and is lost: neither opening nor the command line makes another one."""
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    seen.forget_row(db, "orders")
    keyfs.restart()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    assert keyfs.cli("create", "orders").returncode == 1
    assert "orders" not in seen.texts(db)


def has_seen(keyfs, keys):
    """This host's memory holds key-0, key-1, ..."""
    for n in range(keys):
        keyfs.read(f"key-{n}")
    for n in range(keys):
        eventually(lambda n=n: seen.known_here(keyfs, f"key-{n}"), 20, "noted")


def test_the_command_line_makes_no_second_key_for_an_id_that_this_host_has_served(launch, db):
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    seen.forget_row(db, "orders")
    for running in (True, False):
        done = keyfs.cli("create", "orders")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "which this host has seen" in done.stderr and f"{keyfs.state_dir}/replica.db*" in done.stderr
        assert "orders" not in seen.texts(db)
        if running:
            assert keyfs.cli("create", "new").returncode == 0, "an id that nobody has seen"
            assert seen.error_name(launch(name="other").read, "new") is None
            keyfs.terminate()
    # As the message says.
    for end in ("", "-wal", "-shm"):
        if os.path.exists(f"{keyfs.state_dir}/replica.db{end}"):
            os.remove(f"{keyfs.state_dir}/replica.db{end}")
    assert keyfs.cli("create", "orders").returncode == 0


def test_check_tells_which_keys_that_this_host_has_seen_the_store_lacks(launch, db):
    keyfs = launch()
    has_seen(keyfs, 5)
    good = keyfs.cli("check")
    assert good.returncode == 0 and "5 keys, none missing from the store" in good.stdout, good
    seen.forget_row(db, "key-0")
    one = keyfs.cli("check")
    assert one.returncode == 3 and "the store lacks 1 of 5 keys: key-0\n" in one.stdout, one
    for n in range(1, 4):
        seen.forget_row(db, f"key-{n}")
    lost = keyfs.cli("check")
    assert lost.returncode == 3 and "the store lacks 4 of 5 keys: key-0, key-1, key-2, ...\n" in lost.stdout, lost
    assert f"delete {keyfs.state_dir}/replica.db*" in lost.stdout and "EBADMSG" in lost.stdout
    keyfs.restart()
    assert seen.error_name(keyfs.read, "key-0") == "EBADMSG"


def test_check_tells_which_records_went_back_to_before_what_this_host_has_seen(launch, db):
    keyfs = launch()
    has_seen(keyfs, 3)
    backup = seen.texts(db)["key-1"]
    assert keyfs.cli("disable", "key-1").returncode == 0
    good = keyfs.cli("check")
    assert good.returncode == 0 and "went back" not in good.stdout, good
    seen.put_text(db, "key-1", backup)
    older = keyfs.cli("check")
    assert older.returncode == 3, older
    assert "3 keys, none missing from the store; of 3 records read, 1 went back to before what this host has seen: key-1\n" in older.stdout, older
    assert "EBADMSG" in older.stdout and "get new, different keys" not in older.stdout
    assert seen.texts(db)["key-1"] == backup, "check only reads"


@pytest.mark.parametrize("damage", ["no JSON", "wrapped keys that do not unwrap"])
def test_a_key_whose_damaged_record_was_seen_is_not_made_anew_once_that_is_removed(launch, db, damage):
    """Removing the bad row is what an operator tries first."""
    keyfs = launch(name="other")
    keyfs.read("orders")
    keyfs.terminate()
    if damage == "no JSON":
        seen.put_text(db, "orders", "{")
    else:
        record = seen.records(db)["orders"]
        for wrap in record["versions"]["1"]["wrapped"].values():
            wrap["blob"] = wrap["blob"][:-8] + "AAAAAAA="
        seen.put_text(db, "orders", json.dumps(record))
    keyfs = launch()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    makes_no_second_key(keyfs, db)


DOORS = {
    "stat": lambda keyfs: os.stat(keyfs.path("orders")),
    "xattr": lambda keyfs: os.getxattr(keyfs.path("orders"), "user.keyfs.state"),
    "describe": lambda keyfs: keyfs.cli("describe", "orders"),
    "heal": lambda keyfs: keyfs.cli("heal", "orders"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_a_key_that_was_only_looked_at_is_not_made_anew_once_its_record_is_lost(launch, db, door, damaged):
    other = launch(name="other")
    key = other.read("orders")
    keyfs = launch()
    if damaged:
        seen.put_text(db, "orders", "{")
    try:
        DOORS[door](keyfs)
    except OSError:
        assert damaged
    makes_no_second_key(keyfs, db)
    if not damaged:
        assert other.read("orders") == key


def test_describe_does_not_wait_long_for_a_memory_that_others_hold_and_says_so(launch):
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    keyfs.terminate()
    other = sqlite3.connect(f"{keyfs.state_dir}/replica.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        # Half a second, and two for the writer, which would go on for five.
        with seen.within(4.5, "describe"):
            done = keyfs.cli("describe", "orders")
    finally:
        other.close()
    assert done.returncode == 0 and done.stdout.startswith("orders\n"), done
    assert "could not note that it has seen this key" in done.stderr and "did not answer in time" in done.stderr, done.stderr


def test_describe_leaves_no_memory_behind_where_there_is_none(launch, db):
    launch(name="other").read("orders")
    keyfs = launch(start=False)
    assert keyfs.cli("describe", "orders").returncode == 0
    assert not os.path.exists(f"{keyfs.state_dir}/replica.db")


def test_the_command_line_makes_nothing_where_it_cannot_read_what_this_host_has_seen(launch, db):
    keyfs = launch()
    keyfs.read("orders")
    keyfs.terminate()
    with open(f"{keyfs.state_dir}/replica.db", "r+b") as f:
        f.write(b"x" * 4096)
    done = keyfs.cli("create", "new")
    assert done.returncode == 1 and "cannot tell now" in done.stderr, done.stdout + done.stderr
    assert "new" not in seen.texts(db)
    keyfs.start()
    assert keyfs.read("orders")
    assert seen.error_name(keyfs.read, "new") == "EIO"
    assert "new" not in seen.texts(db)
    eventually(lambda: "replica.db.damaged" in keyfs.log(), 10, "the log tells it")
    assert "replica.db.damaged" in seen.status(keyfs)["creations"]["refused"]
    keyfs.terminate()
    os.remove(f"{keyfs.state_dir}/replica.db.damaged")
    keyfs.start()
    assert len(keyfs.read("new")) == 32
    assert seen.status(keyfs)["creations"]["refused"] is None


def refused(keyfs, ident, key):
    """EBADMSG; until the first check the key as it was, and never another."""
    try:
        assert keyfs.read(ident) == key, "another key"
    except OSError as e:
        return seen.errno.errorcode[e.errno] == "EBADMSG"
    return False


def test_another_stores_row_of_the_same_id_is_refused(launch, folder, db):
    """The same masters, and so wraps that would open."""
    first = launch(fresh_for="1s", name="first")
    key = first.read("app-orders")
    other_db = str(folder / "other.db")
    second = launch(name="second", sections={"store": {"type": "sqlite", "path": other_db}})
    assert second.read("app-orders") != key
    good, foreign = seen.texts(db)["app-orders"], seen.texts(other_db)["app-orders"]
    seen.put_text(db, "app-orders", foreign)
    eventually(lambda: refused(first, "app-orders", key), 20, "EBADMSG from the first check on")
    eventually(lambda: "app-orders" in first.log(), 10, "the log names it")
    first.restart()
    assert seen.error_name(first.read, "app-orders") == "EBADMSG"
    seen.put_text(db, "app-orders", good)
    assert first.read("app-orders") == key


@pytest.mark.parametrize("replica", ["whole", "damaged"])
def test_a_host_that_lost_its_store_id_takes_no_other_store_for_its_own(launch, folder, db, replica):
    """Its records tell which store it has used; where they can't be read, it makes nothing."""
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    keyfs.terminate()
    store_id = f"{keyfs.state_dir}/store-id"
    remembered = open(store_id).read()
    os.remove(store_id)
    if replica == "damaged":
        with open(f"{keyfs.state_dir}/replica.db", "r+b") as f:
            f.write(b"x" * 4096)
        keyfs.start()
        assert keyfs.read("orders"), "what is there is served"
        assert seen.error_name(keyfs.read, "new") == "EIO"
        done = keyfs.cli("create", "new")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "new" not in seen.texts(db)
        return
    os.rename(db, db + ".mine")
    other = str(folder / "other.db")
    second = launch(name="second", sections={"store": {"type": "sqlite", "path": other}})
    second.read("elsewhere")
    second.terminate()
    shutil.copy(other, db)
    done = keyfs.cli("create", "new")
    assert done.returncode == 2 and "is not the store that this host has used so far" in done.stderr, done.stdout + done.stderr
    assert "--accept-store" in done.stderr
    assert "new" not in seen.texts(db)
    assert open(store_id).read() == remembered
    os.remove(store_id)
    assert keyfs.cli("check", "--accept-store").returncode in (0, 3)
    keyfs.start()
    assert len(keyfs.read("new")) == 32, "as the operator said"


def test_another_key_of_the_same_id_is_refused_where_the_first_one_was_seen(launch, db):
    """The store lost the record, and a host that had never seen it made another key: nothing in the new record tells."""
    first = launch(fresh_for="1s", name="first")
    key = first.read("app-orders")
    eventually(lambda: seen.known_here(first, "app-orders"), 20, "noted")
    good = seen.texts(db)["app-orders"]
    seen.forget_row(db, "app-orders")
    assert launch(name="elsewhere").read("app-orders") != key
    eventually(lambda: refused(first, "app-orders", key), 20, "EBADMSG from the first check on")
    for told in ("is not the key that it was", f"{first.state_dir}/replica.db*"):
        eventually(lambda: told in first.log(), 10, f"the log says {told}")
    first.restart()
    assert seen.error_name(first.read, "app-orders") == "EBADMSG"
    done = first.cli("describe", "app-orders")
    assert done.returncode == 1 and "is not the key that it was" in done.stderr, done.stdout + done.stderr
    seen.put_text(db, "app-orders", good)
    assert first.read("app-orders") == key


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_deleted_key_stays_deleted(launch, db, restarted):
    keyfs = launch(fresh_for="1s")
    keyfs.read("orders")
    before = json.loads(seen.texts(db)["orders"])
    deleted = {**before, "state": "deleted", "serial": before.get("serial", 0) + 1}
    seen.put_text(db, "orders", json.dumps(deleted))
    eventually(lambda: seen.error_name(keyfs.read, "orders") == "EKEYREVOKED", 20, "deleted")
    eventually(lambda: known_deleted(keyfs), 20, "noted")
    if restarted:
        keyfs.restart()
    for record in (before, {**before, "serial": before.get("serial", 0) + 5}):
        seen.put_text(db, "orders", json.dumps(record))
        eventually(lambda: seen.error_name(keyfs.read, "orders") == "EBADMSG", 20, "it does not live again")
    assert seen.error_name(lambda: os.getxattr(keyfs.path("orders"), "user.keyfs.state")) == "EBADMSG"


def known_deleted(keyfs):
    with sqlite3.connect(f"file:{keyfs.state_dir}/replica.db?mode=ro", uri=True) as replica:
        return json.loads(replica.execute("SELECT json FROM records WHERE id = 'orders'").fetchone()[0])["state"] == "deleted"


def test_what_the_command_line_makes_is_remembered_without_a_daemon(launch, db):
    keyfs = launch()
    keyfs.terminate()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(f"{keyfs.state_dir}/replica.db{end}"):
            os.remove(f"{keyfs.state_dir}/replica.db{end}")
    assert keyfs.cli("create", "o1").returncode == 0
    assert seen.known_here(keyfs, "o1")
    seen.forget_row(db, "o1")
    done = keyfs.cli("create", "o1")
    assert done.returncode == 1 and "which this host has seen" in done.stderr, done.stdout + done.stderr
    assert "o1" not in seen.texts(db)


def test_what_the_command_line_makes_beside_a_daemon_is_made_once(launch, db):
    keyfs = launch()
    assert keyfs.cli("create", "o2").returncode == 0
    seen.forget_row(db, "o2")
    assert seen.error_name(keyfs.read, "o2") == "EBADMSG"
    assert "o2" not in seen.texts(db)


def test_the_command_line_makes_nothing_that_it_cannot_note(launch, db):
    keyfs = launch()
    with sqlite3.connect(f"{keyfs.state_dir}/replica.db", isolation_level=None) as replica:
        replica.execute("BEGIN IMMEDIATE")
        done = keyfs.cli("create", "o1")
        replica.execute("ROLLBACK")
    assert done.returncode == 1 and "could not remember it" in done.stderr, done.stdout + done.stderr
    assert "o1" not in seen.texts(db)
    assert keyfs.cli("create", "o1").returncode == 0


def put_back(db, ident, text):
    with seen.store(db) as store:
        store.execute("UPDATE records SET record = ?, revision = (SELECT max(revision) + 1 FROM records) WHERE id = ?", (text, ident))


@pytest.mark.parametrize("running", [True, False], ids=["beside a daemon", "alone"])
def test_what_the_command_line_deleted_or_disabled_stays_so(launch, db, running):
    keyfs = launch(fresh_for="1s")
    for ident, verb in (("o3", ("delete", "--yes")), ("o4", ("disable",))):
        keyfs.read(ident)
        old = seen.texts(db)[ident]
        if not running:
            keyfs.terminate()
        assert keyfs.cli(*verb, ident).returncode == 0
        put_back(db, ident, old)
        for again in ("disable", "enable"):
            done = keyfs.cli(again, ident)
            assert done.returncode == 1 and "this host has seen" in done.stderr, done.stdout + done.stderr
        assert seen.texts(db)[ident] == old
        if not running:
            keyfs.start()
        eventually(lambda: seen.error_name(keyfs.read, ident) == "EBADMSG", 20, f"{ident} is not served any more")


def test_a_key_is_refused_also_where_that_cannot_be_remembered(launch, db):
    keyfs = launch()
    keyfs.read("orders")
    with sqlite3.connect(f"{keyfs.state_dir}/replica.db", isolation_level=None) as replica:
        replica.execute("BEGIN IMMEDIATE")
        done = keyfs.cli("disable", "orders")
        replica.execute("ROLLBACK")
    assert done.returncode == 3 and "could not record the change" in done.stderr, done.stdout + done.stderr
    assert seen.records(db)["orders"]["state"] == "disabled"


def test_create_does_not_call_a_key_good_that_opening_refuses(launch, db):
    keyfs = launch(start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    old = seen.texts(db)["orders"]
    assert keyfs.cli("delete", "--yes", "orders").returncode == 0
    put_back(db, "orders", old)
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1 and "already exists" not in done.stdout and "this host has seen" in done.stderr, done.stdout + done.stderr
    assert seen.texts(db)["orders"] == old
    keyfs.start()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"


def test_heal_of_a_key_by_name_does_not_call_a_forged_version_whole(launch, db):
    keyfs = launch(start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    assert "1 whole" in keyfs.cli("heal", "orders").stdout
    record = json.loads(seen.texts(db)["orders"])
    record["versions"]["2"] = record["versions"]["1"]
    put_back(db, "orders", json.dumps({**record, "current": 2, "serial": record.get("serial", 0) + 2}))
    done = keyfs.cli("heal", "orders")
    assert done.returncode == 1 and "could not unwrap key orders" in done.stderr, done.stdout + done.stderr
    keyfs.start()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"

"""What a host has seen limits what it accepts later, in every way: opening, the command line, a restart."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

import seen
from support.process import eventually


def forget_row(db, ident):
    with seen.store(db) as store:
        assert store.execute("DELETE FROM records WHERE id = ?", (ident,)).rowcount == 1


def known_here(keyfs, ident):
    """This host's copy of the record is on its disk."""
    with sqlite3.connect(f"file:{keyfs.state_dir}/replica.db?mode=ro", uri=True) as replica:
        return replica.execute("SELECT count(*) FROM records WHERE id = ?", (ident,)).fetchone()[0] == 1


def makes_no_second_key(keyfs, db):
    """Its record was seen, and is lost: neither opening nor the command line makes another one."""
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
    forget_row(db, "orders")
    keyfs.restart()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    assert keyfs.cli("create", "orders").returncode == 1
    assert "orders" not in seen.texts(db)


def test_the_command_line_makes_no_second_key_for_an_id_that_this_host_has_served(launch, db):
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
    forget_row(db, "orders")
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
    for n in range(5):
        keyfs.read(f"key-{n}")
    for n in range(5):
        eventually(lambda n=n: known_here(keyfs, f"key-{n}"), 20, "noted")
    good = keyfs.cli("check")
    assert good.returncode == 0 and "5 keys, none missing from the store" in good.stdout, good
    forget_row(db, "key-0")
    one = keyfs.cli("check")
    assert one.returncode == 3 and "the store lacks 1 of 5 keys: key-0\n" in one.stdout, one
    for n in range(1, 4):
        forget_row(db, f"key-{n}")
    lost = keyfs.cli("check")
    assert lost.returncode == 3 and "the store lacks 4 of 5 keys: key-0, key-1, key-2, ...\n" in lost.stdout, lost
    assert f"delete {keyfs.state_dir}/replica.db*" in lost.stdout and "EBADMSG" in lost.stdout
    keyfs.restart()
    assert seen.error_name(keyfs.read, "key-0") == "EBADMSG"


def test_check_tells_which_records_went_back_to_before_what_this_host_has_seen(launch, db):
    keyfs = launch()
    for n in range(3):
        keyfs.read(f"key-{n}")
    for n in range(3):
        eventually(lambda n=n: known_here(keyfs, f"key-{n}"), 20, "noted")
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
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
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


@pytest.mark.parametrize("how", ["state_dir removed", "file removed", "backup in place of it"])
def test_no_key_is_made_once_the_memory_was_removed_or_replaced_under_a_running_daemon(launch, db, how):
    keyfs = launch()
    key = keyfs.read("orders")
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
    replica = os.path.join(keyfs.state_dir, "replica.db")
    if how == "state_dir removed":
        shutil.rmtree(keyfs.state_dir)
    elif how == "file removed":
        for end in ("", "-wal", "-shm"):
            os.remove(replica + end)
    else:
        with sqlite3.connect(replica) as now, sqlite3.connect(replica + ".backup") as copy:
            now.backup(copy)
        os.rename(replica + ".backup", replica)
    assert seen.error_name(keyfs.read, "new") == "EIO"
    assert "new" not in seen.texts(db)
    assert keyfs.read("orders") == key, "what is there is served"
    if how != "state_dir removed":
        eventually(lambda: "was removed or replaced while keyfs had it open" in keyfs.log(), 10, "the log tells it")
    keyfs.terminate()
    keyfs.start()
    assert keyfs.read("orders") == key
    assert keyfs.read("new")


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
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
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
    eventually(lambda: known_here(first, "app-orders"), 20, "noted")
    good = seen.texts(db)["app-orders"]
    forget_row(db, "app-orders")
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
    assert known_here(keyfs, "o1")
    forget_row(db, "o1")
    done = keyfs.cli("create", "o1")
    assert done.returncode == 1 and "which this host has seen" in done.stderr, done.stdout + done.stderr
    assert "o1" not in seen.texts(db)


def test_what_the_command_line_makes_beside_a_daemon_is_made_once(launch, db):
    keyfs = launch()
    assert keyfs.cli("create", "o2").returncode == 0
    forget_row(db, "o2")
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


def cover(path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "none", path], check=True)


def take_away(state_dir, how):
    """The memory of a running keyfs; returns what puts it back."""
    replica = os.path.join(state_dir, "replica.db")
    if how == "state_dir removed":
        shutil.rmtree(state_dir)
    elif how == "file removed":
        for end in ("", "-wal", "-shm"):
            os.remove(replica + end)
    elif how == "another file system over it":
        cover(state_dir)
        return lambda: subprocess.run(["umount", "-l", state_dir], check=True)
    else:
        with sqlite3.connect(replica) as now, sqlite3.connect(replica + ".backup") as copy:
            now.backup(copy)
            copy.execute("DELETE FROM records")
        copy.close()
        now.close()
        os.rename(replica + ".backup", replica)
        for end in ("-wal", "-shm"):
            os.remove(replica + end)
    return lambda: None


@pytest.mark.parametrize("how", ["state_dir removed", "file removed", "another file system over it", "older backup in place of it"])
def test_beside_a_keyfs_whose_memory_was_taken_away_nobody_makes_a_second_key(launch, db, how):
    keyfs = launch()
    key = keyfs.read("orders")
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
    put_back_memory = take_away(keyfs.state_dir, how)
    try:
        forget_row(db, "orders")
        for ident in ("orders", "new"):
            done = keyfs.cli("create", ident)
            assert done.returncode == 1, done.stdout + done.stderr
            assert "a running keyfs has remembered in another file" in done.stderr and "stop keyfs first" in done.stderr, done.stderr
        second = launch(name="second", state_dir=keyfs.state_dir)
        assert seen.error_name(second.read, "orders") == "EIO"
        assert seen.texts(db) == {}
        assert keyfs.read("orders") == key
        second.terminate()
    finally:
        put_back_memory()
    keyfs.terminate()
    if how == "another file system over it":
        assert keyfs.cli("create", "orders").returncode == 1, "it is there again, and knows it"
    else:
        assert keyfs.cli("create", "orders").returncode == 0, "it was stopped, and its memory removed: it forgot"


def test_another_users_word_about_the_memory_counts_for_nothing(launch):
    """Anybody can take the name of a socket."""
    keyfs = launch()
    with open("/proc/net/unix") as f:
        (name,) = [line.split("@")[1].strip() for line in f if "@keyfs/" in line and own_mark(line, keyfs)]
    keyfs.terminate()
    place = name.rsplit("/", 2)[0]
    liar = subprocess.Popen([sys.executable, "-c", "import os, socket, sys; os.setuid(4711); s = socket.socket(socket.AF_UNIX); "
                             f"s.bind('\\0{place}/1.1/0'); s.listen(); print('ready', flush=True); sys.stdin.read()"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert liar.stdout.readline() == b"ready\n"
        done = keyfs.cli("create", "new")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        liar.communicate()


def own_mark(line, keyfs):
    info = os.stat(f"{keyfs.state_dir}/replica.db")
    return f"/{info.st_dev:x}.{info.st_ino:x}/" in line


@pytest.mark.parametrize("made_by", ["this keyfs", "an older keyfs"])
def test_one_bit_of_an_id_that_changed_in_the_memory_makes_no_second_key(launch, db, made_by):
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: known_here(keyfs, "orders"), 20, "noted")
    keyfs.terminate()
    replica = f"{keyfs.state_dir}/replica.db"
    with sqlite3.connect(replica) as file:
        if made_by == "an older keyfs":
            file.execute("DROP INDEX records_by_id")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()
    with open(replica, "r+b") as f:
        data = f.read()
        assert data.count(b"orders{") == 1
        f.seek(data.index(b"orders{"))
        f.write(b"nrders")
    checked = keyfs.cli("check")
    assert checked.returncode == 3 and "1 rows are damaged" in checked.stdout, checked.stdout + checked.stderr
    forget_row(db, "orders")
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1, done.stdout + done.stderr
    keyfs.start()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    assert "orders" not in seen.texts(db)
    assert keyfs.read("new"), "the others are told as before"


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

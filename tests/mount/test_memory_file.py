"""What this host has seen lies in a file: that file taken away from a running keyfs, contradicted or damaged makes no second key."""
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

import seen
from support.process import eventually


def cover(path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "none", path], check=True)


def take_away(state_dir, how):
    """The memory of a running keyfs; returns what puts it back."""
    replica = os.path.join(state_dir, "replica.db")
    if how == "state_dir removed":
        os.rename(state_dir, f"{state_dir}.away")  # at once: keyfs writes there
        shutil.rmtree(f"{state_dir}.away")
    elif how == "file removed":
        for end in ("", "-wal", "-shm"):
            os.remove(replica + end)
    elif how == "another file system over it":
        cover(state_dir)
        return lambda: subprocess.run(["umount", "-l", state_dir], check=True)
    else:
        older = how.startswith("older")
        with sqlite3.connect(replica) as now, sqlite3.connect(replica + ".backup") as copy:
            now.backup(copy)
            if older:
                copy.execute("DELETE FROM records")
        copy.close()
        now.close()
        os.rename(replica + ".backup", replica)
        if older:
            for end in ("-wal", "-shm"):
                os.remove(replica + end)
    return lambda: None


@pytest.mark.parametrize("how", ["state_dir removed", "file removed", "backup in place of it"])
def test_no_key_is_made_once_the_memory_was_removed_or_replaced_under_a_running_daemon(launch, db, how):
    keyfs = launch()
    key = keyfs.read("orders")
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    take_away(keyfs.state_dir, how)
    assert seen.error_name(keyfs.read, "new") == "EIO"
    assert "new" not in seen.texts(db)
    assert keyfs.read("orders") == key, "what is there is served"
    if how != "state_dir removed":
        eventually(lambda: "was removed or replaced while keyfs had it open" in keyfs.log(), 10, "the log tells it")
    keyfs.terminate()
    keyfs.start()
    assert keyfs.read("orders") == key
    assert keyfs.read("new")


@pytest.mark.parametrize("how", ["state_dir removed", "file removed", "another file system over it", "older backup in place of it"])
def test_beside_a_keyfs_whose_memory_was_taken_away_nobody_makes_a_second_key(launch, db, how):
    keyfs = launch()
    key = keyfs.read("orders")
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
    put_back_memory = take_away(keyfs.state_dir, how)
    try:
        seen.forget_row(db, "orders")
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
    eventually(lambda: seen.known_here(keyfs, "orders"), 20, "noted")
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
    seen.forget_row(db, "orders")
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1, done.stdout + done.stderr
    keyfs.start()
    assert seen.error_name(keyfs.read, "orders") == "EBADMSG"
    assert "orders" not in seen.texts(db)
    assert keyfs.read("new"), "the others are told as before"


def lose(log, how):
    """The write-ahead log, by a disk or a hand."""
    if not os.path.exists(log):
        return
    if how == "removed":
        os.remove(log)
    elif how == "emptied":
        os.truncate(log, 0)
    elif how == "halved":
        os.truncate(log, os.path.getsize(log) // 2)
    elif os.path.getsize(log) > 40:
        with open(log, "r+b") as f:
            f.seek(40)
            (byte,) = f.read(1)
            f.seek(40)
            f.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("how", ["flipped", "halved", "emptied", "removed"])
def test_a_write_ahead_log_that_is_lost_after_kill_9_takes_no_memory_with_it(launch, db, how):
    keyfs = launch()
    for ident in ("orders", "invoices"):
        keyfs.read(ident)
    keyfs.kill()
    lose(f"{keyfs.state_dir}/replica.db-wal", how)
    for ident in ("orders", "invoices"):
        seen.forget_row(db, ident)
    checked = keyfs.cli("check")
    assert checked.returncode == 3 and "lacks 2 of 2 keys" in checked.stdout, checked.stdout + checked.stderr
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1 and "which this host has seen" in done.stderr, done.stdout + done.stderr
    keyfs.start()
    assert seen.error_name(keyfs.read, "invoices") == "EBADMSG"
    assert seen.texts(db) == {}


def test_what_a_command_has_noted_outlives_the_write_ahead_log_too(launch, db):
    keyfs = launch()
    assert keyfs.cli("create", "orders").returncode == 0
    keyfs.kill()
    lose(f"{keyfs.state_dir}/replica.db-wal", "removed")
    seen.forget_row(db, "orders")
    assert keyfs.cli("create", "orders").returncode == 1
    assert seen.texts(db) == {}


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_without_its_write_ahead_log_a_running_keyfs_and_those_beside_it_forget_nothing(launch, db, how):
    keyfs = launch()
    key = keyfs.read("orders")
    for end in ("-wal", "-shm"):
        lose(f"{keyfs.state_dir}/replica.db{end}", how) if how == "removed" or end == "-wal" else None
    seen.forget_row(db, "orders")
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1 and "which this host has seen" in done.stderr, done.stdout + done.stderr
    second = launch(name="second", state_dir=keyfs.state_dir)
    assert seen.error_name(second.read, "orders") == "EBADMSG"
    assert keyfs.read("orders") == key
    # By files that the first one does not have open.
    assert keyfs.cli("create", "new").returncode == 0
    if how == "removed":
        assert seen.error_name(keyfs.read, "newer") == "EIO"
        eventually(lambda: "was removed or replaced while keyfs had it open" in keyfs.log(), 10, "the log tells it")
    for ident in seen.texts(db):
        seen.forget_row(db, ident)
    keyfs.terminate()
    second.terminate()
    for ident in ("orders", "new"):
        done = keyfs.cli("create", ident)
        assert done.returncode == 1 and "which this host has seen" in done.stderr, (ident, done.stdout + done.stderr)
    assert seen.texts(db) == {}


@pytest.mark.parametrize("link", ["the directory itself", "one above it", "by way of another link"])
def test_a_link_to_the_memory_that_is_led_elsewhere_makes_no_second_key(launch, db, folder, link):
    for place in ("old/state", "new/state"):
        os.makedirs(folder / place, mode=0o700)
    name, target, state = {"the directory itself": ("state", "{}/state", "state"), "one above it": ("above", "{}", "above/state"),
                           "by way of another link": ("inner", "{}/state", "outer")}[link]
    if state == "outer":
        os.symlink("inner", folder / "outer")
    os.symlink(folder / target.format("old"), folder / name)
    keyfs = launch(state_dir=str(folder / state))
    key = keyfs.read("orders")
    os.remove(folder / name)
    os.symlink(folder / target.format("new"), folder / name)
    seen.forget_row(db, "orders")
    checked = keyfs.cli("check")
    assert checked.returncode == 3 and "a running keyfs has remembered in another file" in checked.stdout, checked.stdout + checked.stderr
    for spelled in (state, f"{os.path.dirname(state)}/./{os.path.basename(state)}", f"old/../{state}", name if state == "outer" else state):
        other = launch(name="other", state_dir=f"{folder}/{spelled}", start=False)
        for ident in ("orders", "new"):
            done = other.cli("create", ident)
            assert done.returncode == 1, (spelled, done.stdout + done.stderr)
            assert "a running keyfs has remembered in another file" in done.stderr and "a link in its path leads elsewhere" in done.stderr, done.stderr
    second = launch(name="second", state_dir=keyfs.state_dir)
    assert seen.error_name(second.read, "orders") == "EIO"
    assert seen.texts(db) == {}
    assert keyfs.read("orders") == key
    second.terminate()
    keyfs.terminate()
    assert keyfs.cli("create", "new").returncode == 0, "nothing runs that had another file: the new place counts"

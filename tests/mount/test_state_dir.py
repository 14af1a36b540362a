"""state_dir full, read-only, hanging, or somebody else's."""
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

import seen
from support import daemon as d
from support.process import eventually

# As a disk that hangs: whatever is written to a replica waits, once the file named by HANG is there.
HANGING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static void look(int fd) {
  char link[64], path[512] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "replica.db") && access(getenv("HANG"), F_OK) == 0)
    for (;;) pause();
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
  look(fd);
  return real(fd, data, size, at);
}
int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  look(fd);
  return real(fd);
}
int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fsync");
  look(fd);
  return real(fd);
}
"""


@pytest.fixture
def disk(folder):
    """A small file system for state_dir."""
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    file = os.open(path / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while os.write(file, b"x" * 4096):
            pass
    except OSError:
        pass
    finally:
        os.close(file)


@pytest.mark.parametrize("how", ["full", "read-only", "full from the beginning"])
def test_without_a_state_dir_that_can_be_written_keys_are_served(launch, folder, disk, how):
    keyfs = launch(state_dir=str(disk / "state"), audit=str(folder / "audit.jsonl"), start=False)
    if how != "full from the beginning":
        keyfs.start()
        key = keyfs.read("orders")
        assert keyfs.terminate() == 0
    else:
        other = launch()
        key = other.read("orders")
        assert other.terminate() == 0
    if how == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    else:
        fill(disk)
    keyfs.start()
    assert keyfs.read("orders") == key
    assert seen.error_name(keyfs.read, "not-seen-before") == "EIO", "a host that can't remember makes no key"
    trouble = seen.status(keyfs)["state_dir"]["trouble"]
    assert ("Read-only" if how == "read-only" else "No space left") in trouble
    keyfs.logged("state_dir is not writable")
    assert subprocess.run([keyfs.program, "status", keyfs.mount], capture_output=True).returncode == 3
    assert keyfs.terminate() == 0


def test_what_was_read_while_state_dir_was_full_is_noted_once_there_is_room_without_another_read(launch, folder, disk):
    ids = [f"key-{n}" for n in range(40)]
    other = launch(name="other")
    for ident in ids:
        other.read(ident)
    keyfs = launch(state_dir=str(disk / "state"), audit=str(folder / "audit.jsonl"))
    fill(disk)
    for ident in ids:
        assert keyfs.read(ident) == other.read(ident)
    assert not all(noted(disk, ident) for ident in ids), "there was no room"
    os.remove(disk / "filler")
    eventually(lambda: all(noted(disk, ident) for ident in ids), 30, "noted, though nobody reads them again")
    keyfs.restart(signal.SIGKILL)
    with seen.store(seen.database(keyfs)) as store:
        store.execute("DELETE FROM records")
    assert {seen.error_name(keyfs.read, ident) for ident in ids} == {"EBADMSG"}


def noted(disk, ident):
    with sqlite3.connect(f"file:{disk}/state/replica.db?mode=ro", uri=True) as replica:
        return replica.execute("SELECT count(*) FROM records WHERE id = ?", (ident,)).fetchone()[0] == 1


def test_in_the_background_too_though_there_is_no_log(launch, folder, disk):
    keyfs = launch(state_dir=str(disk / "state"), audit=str(folder / "audit.jsonl"), start=False)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = subprocess.run([keyfs.program, "mount", *keyfs.source, keyfs.mount], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    try:
        assert done.returncode == 0
        assert os.listdir(keyfs.path(".keyfs"))
        os.kill(seen.status(keyfs)["pid"], signal.SIGTERM)
        eventually(lambda: d.mounted(keyfs.mount) is None, what="it ends")
    finally:
        d.unmount(keyfs.mount)


def spoil(path, how):
    if how == "another's":
        os.chown(path, 4711, -1)
    elif how == "writable for others":
        os.chmod(path, os.stat(path).st_mode | 0o022)
    else:
        shutil.move(path, str(path) + ".real")
        os.symlink(str(path) + ".real", path)


@pytest.mark.parametrize("what, how", [("state_dir", "another's"), ("state_dir", "writable for others"), ("log", "another's"), ("log", "writable for others"),
                                       ("log", "a link"), ("audit", "another's"), ("audit", "writable for others"), ("audit", "a link"),
                                       ("database", "another's"), ("database", "writable for others"), ("configuration", "another's"),
                                       ("configuration", "writable for others")])
def test_what_somebody_else_may_have_written_is_refused_and_check_tells_it(launch, db, what, how):
    keyfs = launch()
    keyfs.read("orders")
    assert keyfs.terminate() == 0
    log = os.path.join(keyfs.state_dir, "keyfs.log")
    with open(log, "a"):
        os.chmod(log, 0o640)
    path = {"state_dir": keyfs.state_dir, "log": log, "audit": keyfs.audit_file, "database": db, "configuration": keyfs.config_file}[what]
    spoil(path, how)
    done = keyfs.mount_in_vain()
    try:
        assert done.returncode in (1, 2), "it is not mounted"
        assert path in done.stderr and done.stderr.count("\n") == 1
        words = {"another's": "is owned by uid 4711", "writable for others": "others can write it", "a link": "symbolic link"}[how]
        assert words in done.stderr
        checked = keyfs.cli("check")
        assert checked.returncode != 0
        assert words in checked.stdout + checked.stderr
    finally:
        d.unmount(keyfs.mount)


@pytest.mark.parametrize("what", ["state_dir", "audit", "database", "master"])
@pytest.mark.parametrize("how", ["another's", "writable for others", "sticky"])
def test_a_directory_where_somebody_else_can_replace_it_is_refused_and_check_tells_it(launch, folder, db, what, how):
    """Each lies directly in a directory of its own."""
    place = folder / "place"
    place.mkdir(mode=0o755)
    named = {"state_dir": str(place / "state")} if what == "state_dir" else {"audit": str(place / "audit.jsonl")} if what == "audit" else {}
    keyfs = launch(start=False, **named)
    held = folder / "parts" if what == "master" else place
    if how == "another's":
        os.chown(held, 4711, -1)
    else:
        held.chmod(0o1777 if how == "sticky" else 0o777)
    if what in ("database", "master"):  # they lie together otherwise
        other = place if what == "database" else folder / "elsewhere"
        other.mkdir(mode=0o700, exist_ok=True)
        with open(keyfs.config_file) as f:
            text = f.read().replace(db, str(other / "keys.db"))
        with open(keyfs.config_file, "w") as f:
            f.write(text)
    done = keyfs.mount_in_vain()
    try:
        if how == "sticky":
            assert done.returncode == 0, done.stderr
            return
        checked = keyfs.cli("check")
        words = f"{held} is owned by uid 4711" if how == "another's" else f"its directory {held} has mode 0777; run: chmod go-w {held}"
        assert checked.returncode != 0 and words in checked.stdout + checked.stderr, checked
        if what != "master":  # a master that is refused is a region that is down, and told by the log
            assert done.returncode in (1, 2) and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    finally:
        held.chmod(0o755)
        os.chown(held, 0, -1)
        d.unmount(keyfs.mount)


@pytest.fixture
def hang(folder):
    """The file that makes a replica's disk hang, in the environment that makes it so."""
    source, library, flag = folder / "hang.c", folder / "hang.so", folder / "hang"
    source.write_text(HANGING_DISK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "HANG": str(flag)}


def test_a_disk_that_hangs_does_not_hold_up_the_end(launch, hang):
    keyfs = launch(env=hang, fresh_for="0s")
    keyfs.read("orders")
    pathlib.Path(hang["HANG"]).touch()
    # Made, and not handed out while this host can't note that it made it.
    assert seen.error_name(keyfs.read, "payments") == "EIO"
    begin = time.monotonic()
    keyfs.process.send_signal(signal.SIGTERM)
    assert keyfs.process.wait(30) == 0
    assert time.monotonic() - begin < 8
    assert d.mounted(keyfs.mount) is None


@pytest.mark.parametrize("args, code, patience", [(["describe", "orders"], 0, 0.5), (["disable", "orders"], 3, 10), (["heal", "orders"], 0, 1)],
                         ids=["describe", "disable", "heal"])
def test_a_disk_that_begins_to_hang_holds_up_no_commands_end_and_that_is_told(launch, hang, args, code, patience):
    """It answers, says that this was not noted, and leaves the thread that hangs."""
    keyfs = launch(env=hang, open_deadline="1s")
    keyfs.read("orders")
    keyfs.terminate()
    pathlib.Path(hang["HANG"]).touch()
    with seen.within(patience + 2 + 2, "the command and its end"):
        done = keyfs.cli(*args, timeout=30)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout, "its answer"
    assert "this host could not" in done.stderr and "did not answer in time" in done.stderr, done.stderr


def test_a_reload_tells_what_needs_a_restart(launch):
    keyfs = launch(fresh_for="1m")
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: "configuration reloaded; policy unchanged" in keyfs.log(), what="told")
    assert "need a restart" not in keyfs.log()
    with open(keyfs.config_file) as f:
        text = f.read()
    with open(keyfs.config_file, "w") as f:
        f.write(text.replace("fresh_for = 1m", "fresh_for = 2m\nkey_bytes = 64"))
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: "need a restart" in keyfs.log(), what="told")
    (line,) = [line for line in keyfs.logged("need a restart").splitlines() if "need a restart" in line]
    assert 'changed="key_bytes, fresh_for"' in line


ANOTHER = 4711


def test_root_makes_nothing_that_the_owner_of_the_directory_could_not_use(launch, folder, db):
    """A daemon that runs as the owner would refuse what is root's."""
    keyfs = launch(start=False, state_dir=str(folder / "parts" / "state"))
    os.chown(folder / "parts", ANOTHER, -1)
    done = keyfs.cli("create", "orders")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{db}: is not there" in done.stderr and f"sudo -u '#{ANOTHER}' keyfs" in done.stderr
    assert not os.path.exists(db) and not os.path.exists(keyfs.state_dir)
    os.chown(folder / "parts", 0, -1)
    assert keyfs.cli("create", "orders").returncode == 0
    shutil.rmtree(keyfs.state_dir)
    os.chown(folder / "parts", ANOTHER, -1)
    done = keyfs.cli("create", "bills")
    assert done.returncode == 1 and f"sudo -u '#{ANOTHER}' keyfs" in done.stderr, done.stdout + done.stderr
    assert not os.path.exists(keyfs.state_dir)
    assert set(seen.texts(db)) == {"orders"}
    os.chown(folder / "parts", 0, -1)


def test_root_is_told_that_state_dir_is_its_own_and_what_to_do(launch):
    keyfs = launch(start=False)
    done = keyfs.cli("create", "orders")
    assert done.returncode == 0 and f"chown -R USER {keyfs.state_dir}" in done.stderr, done.stdout + done.stderr
    assert "chown" not in keyfs.cli("create", "bills").stderr, "once"
    # What the daemon of that user says until then.
    os.chown(keyfs.state_dir, ANOTHER, -1)
    refused = keyfs.mount_in_vain()
    assert refused.returncode == 1 and f"chown -R 0 {keyfs.state_dir}" in refused.stderr


def test_a_key_is_disabled_though_state_dir_is_full_and_knows_no_store(launch, folder, disk):
    keyfs = launch(state_dir=str(folder / "first"), audit="off", start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    (disk / "state").mkdir(mode=0o700)
    fill(disk)
    full = launch(name="full", state_dir=str(disk / "state"), audit="off", start=False)
    done = full.cli("disable", "orders")
    assert done.returncode == 3 and "could not record the change" in done.stderr, done
    assert done.stdout == "orders: disabled\n"
    assert full.cli("list").returncode == 0 and full.cli("describe", "orders").returncode == 0
    made = full.cli("create", "new")
    assert made.returncode == 1 and "is not created" in made.stderr, made
    checked = full.cli("check")
    assert checked.returncode == 3 and "No space left" in checked.stdout, checked


def test_a_change_that_a_read_only_state_dir_can_not_keep_is_made_and_told(launch, disk):
    keyfs = launch(state_dir=str(disk / "state"), audit="off", start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = keyfs.cli("disable", "orders")
    assert done.returncode == 3 and "could not record the change" in done.stderr, done
    checked = keyfs.cli("check")
    assert checked.returncode == 3 and "Read-only" in checked.stdout, checked


@pytest.mark.parametrize("what", ["log", "audit"])
def test_check_refuses_a_fifo_where_mount_does(launch, what):
    keyfs = launch(start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    os.mkfifo(os.path.join(keyfs.state_dir, "keyfs.log") if what == "log" else keyfs.audit_file, 0o600)
    try:
        assert keyfs.mount_in_vain().returncode == 1
    finally:
        d.unmount(keyfs.mount)
    done = keyfs.cli("check")
    assert done.returncode == 1 and "is not a regular file" in done.stdout, done


def test_check_tells_of_a_damaged_replica(launch):
    keyfs = launch(start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    with open(os.path.join(keyfs.state_dir, "replica.db"), "w") as f:
        f.write("garbage " * 1000)
    done = keyfs.cli("check")
    assert done.returncode == 3 and "damaged" in done.stdout, done


def test_create_refuses_another_users_state_dir_as_mount_does(launch):
    keyfs = launch(start=False)
    assert keyfs.cli("create", "orders").returncode == 0
    os.chown(keyfs.state_dir, 4711, -1)
    done = keyfs.cli("create", "new")
    assert done.returncode == 1 and "is owned by uid 4711" in done.stderr, done


def test_check_tells_of_a_damaged_file_of_node_ids_as_a_mount_does(launch):
    keyfs = launch()
    keyfs.terminate()
    path = os.path.join(keyfs.state_dir, "node_ids")
    with open(path, "w") as f:
        f.write("hello\n")
    refused = keyfs.mount_in_vain()
    assert refused.returncode == 1 and f"{path} is not a keyfs node id file" in refused.stderr, refused
    done = keyfs.cli("check")
    assert done.returncode == 1 and f"{path} is not a keyfs node id file" in done.stdout, done.stdout + done.stderr
    os.remove(path)
    assert keyfs.cli("check").returncode == 0

"""The audit log: one line for every open of a key, allowed or denied; losing its disk never holds up a read."""
import contextlib
import datetime
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys

import pytest

import seen
from seen import within
from support.cli import PARTIAL, run
from support.daemon import unmount
from support.process import eventually
from support.users import run_as

APP, OTHER = 4001, 4002
POLICY = {"app-*": {"read": f"uid:{APP}, uid:0", "create": "uid:0"}, "*": {"read": "uid:0", "create": "uid:0", "admin": "uid:0"}}
FIELDS = {"time", "event", "id", "version", "uid", "gid", "pid", "exe", "cgroup", "verdict", "section", "line", "source", "region", "created", "us", "errno",
          "reason", "count", "asked", "view"}


@pytest.fixture
def keyfs(launch):
    return launch(policy=POLICY)


def lines(keyfs, count):
    """The audit once it has so many lines besides "creating"; then it must have no more."""
    def told():
        return [line for line in keyfs.audit() if line["event"] != "creating"]

    eventually(lambda: len(told()) >= count, what=f"{count} lines")
    found = told()
    assert len(found) == count, found
    return found


def section_line(keyfs, title):
    with open(keyfs.config_file) as f:
        return f.read().splitlines().index(title) + 1


def test_each_open_has_its_line_with_all_that_is_to_be_known(keyfs):
    path = keyfs.path("app-1")
    before = datetime.datetime.now(datetime.timezone.utc)
    cat = subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL)
    cat.wait()
    again = run_as(APP, APP, [], ["/usr/bin/sha256sum", path])
    denied = run_as(OTHER, OTHER, [], ["/usr/bin/head", path])
    missing = run_as(APP, APP, [], ["/usr/bin/tail", keyfs.path("app-2")])
    assert (again.returncode, denied.returncode, missing.returncode) == (0, 1, 1)
    created, warm, refused, absent = lines(keyfs, 4)
    for line in (created, warm, refused, absent):
        assert line.keys() == FIELDS and line["count"] == 1
        assert line["event"] == "open" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        time = datetime.datetime.fromisoformat(line["time"])
        assert abs((time - before).total_seconds()) < 60
        assert line["section"] == "[keys app-*]" and line["us"] >= 0
        with open("/proc/self/cgroup") as f:
            assert line["cgroup"] in {entry.rstrip("\n").split(":", 2)[2] for entry in f}
    assert created["line"] == refused["line"] and created["line"] >= section_line(keyfs, "[keys app-*]")
    expected = [(created, "app-1", 0, "cat", "allowed", 1, "region", True, None), (warm, "app-1", APP, "sha256sum", "allowed", 1, "cache", False, None),
                (refused, "app-1", OTHER, "head", "denied", None, None, False, "EACCES"), (absent, "app-2", APP, "tail", "absent", None, None, False, "ENOENT")]
    for line, ident, uid, program, verdict, version, source, made, error in expected:
        assert (line["id"], line["uid"], os.path.basename(os.path.realpath(line["exe"])), line["verdict"], line["source"]) == (ident, uid, program, verdict, source)
        assert (line["gid"], bool(line["created"]), line["errno"], line["version"] or None) == (uid, made, error, version)
    assert created["pid"] == cat.pid and created["region"] in ("local-a", "local-b", "local-c") and warm["region"] is None


def test_a_read_from_a_region_names_it(launch, keyfs):
    keyfs.read("orders")
    other = launch(policy=POLICY)
    other.read("orders")
    (line,) = lines(other, 1)
    assert (line["source"], line["verdict"], bool(line["created"])) == ("region", "allowed", False)
    assert line["region"] in ("local-a", "local-b", "local-c")


def test_each_of_many_opens_has_one_line(keyfs):
    for n in range(50):
        keyfs.read(f"key-{n % 5}")
    for n in range(25):
        run_as(OTHER, OTHER, [], ["cat", keyfs.path("app-1")])
    def opens():
        return [line for line in keyfs.audit() if line["event"] == "open"]

    eventually(lambda: sum(line["count"] for line in opens()) == 75, what="all are told")
    found = opens()
    assert [line["id"] for line in found if line["verdict"] == "allowed"] == [f"key-{n % 5}" for n in range(50)]
    denied = [line for line in found if line["verdict"] == "denied"]
    assert sum(line["count"] for line in denied) == 25
    assert seen.status(keyfs)["audit"] == {"on": True, "required": False, "lines": len(found) + 5, "lost": 0, "last_error": None}
    # Looking is no open, and .keyfs/ is no key.
    subprocess.run(["ls", "-la", keyfs.mount], capture_output=True, check=True)
    assert opens() == found and len(keyfs.audit()) == len(found) + 5, "one more for each of five keys that were created"


FLOOD = """
import os, sys, time
path, stop, tries = sys.argv[1], time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < stop:
    for n in range(int(sys.argv[3])):
        try:
            os.open(path % n, os.O_RDONLY)
        except PermissionError:
            tries += 1
print(tries)
"""


@pytest.mark.parametrize("ids", [1, 1000])
def test_a_user_who_is_denied_without_end_neither_fills_the_disk_nor_displaces_a_line(keyfs, ids):
    keyfs.read("app-1")
    flood = [subprocess.Popen(["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", sys.executable, "-c", FLOOD, keyfs.path("app-%d"), "3", str(ids)],
                              stdout=subprocess.PIPE, text=True) for _ in range(4)]
    reads = 0
    while any(process.poll() is None for process in flood):
        keyfs.read("app-1")
        reads += 1
    tries = sum(int(process.communicate()[0]) for process in flood)
    assert tries > 1000
    keyfs.terminate()
    found = keyfs.audit()
    assert not [line for line in found if line["event"] == "lost"]
    assert sum(line["count"] for line in found if line["verdict"] == "allowed") == reads + 1 == len([line for line in found if line["verdict"] == "allowed"])
    denied = [line for line in found if line["verdict"] == "denied"]
    assert sum(line["count"] for line in denied) == tries
    assert {line["uid"] for line in denied} == {OTHER}
    # 100 at once and 2 a second, what is summed up at the end, and the user's own sums.
    assert len(denied) <= 100 + 2 * 10 + 32 + 5


def test_hidden_names_and_failures_are_told_too(keyfs, launch):
    other = launch(policy={"app-*": {"read": "uid:0"}})
    assert seen.error_name(other.read, "elsewhere") == "ENOENT"
    assert seen.error_name(other.read, "app-9") == "ENOENT"
    keyfs.read("ended")
    assert keyfs.cli("disable", "ended").returncode == 0
    fresh = launch(policy=POLICY)
    assert seen.error_name(fresh.read, "ended") == "EKEYREVOKED"
    assert [(line["verdict"], line["errno"]) for line in lines(fresh, 1)] == [("failed", "EKEYREVOKED")]
    assert lines(fresh, 1)[0]["reason"] == "key ended is disabled"
    # The next is refused without asking the store, for the same reason.
    assert seen.error_name(fresh.read, "ended") == "EKEYREVOKED"
    eventually(lambda: sum(line["count"] for line in fresh.audit()) == 2, what="the second line")
    assert {line["reason"] for line in fresh.audit()} == {"key ended is disabled"}
    assert ("absent", "ENOENT") in [(line["verdict"], line["errno"]) for line in other.audit()]


def test_it_is_for_its_owner_only_unless_the_configuration_says_otherwise(keyfs, launch):
    keyfs.read("x")
    assert os.stat(keyfs.audit_file).st_mode & 0o777 == 0o600
    other = launch(audit_group_readable=True)
    assert os.stat(other.audit_file).st_mode & 0o777 == 0o640


def test_lines_stay_over_a_restart(keyfs):
    keyfs.read("one")
    keyfs.restart()
    keyfs.read("two")
    assert [line["id"] for line in lines(keyfs, 2)] == ["one", "two"]


def test_lines_are_whole_after_a_clean_end(keyfs):
    """What was handed out is on disk when the daemon has ended."""
    for n in range(200):
        keyfs.read("key")
    keyfs.terminate()
    with open(keyfs.audit_file) as f:
        assert len([json.loads(line) for line in f]) == 200 + 1, "and that of the creation"


def test_logrotate(keyfs):
    """Moved away, then SIGHUP: the old file keeps its lines, the new one gets the next."""
    keyfs.read("before")
    lines(keyfs, 1)
    os.rename(keyfs.audit_file, keyfs.audit_file + ".1")
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: os.path.exists(keyfs.audit_file), what="a new file")
    keyfs.read("after")
    assert [line["id"] for line in lines(keyfs, 1)] == ["after"]
    with open(keyfs.audit_file + ".1") as f:
        assert [json.loads(line)["id"] for line in f] == ["before"] * 2


def test_audit_off(launch, folder):
    keyfs = launch(audit="off")
    assert len(keyfs.read("orders")) == 32
    assert seen.status(keyfs)["audit"]["on"] is False
    assert not list(folder.glob("*.jsonl"))


@contextlib.contextmanager
def small_disk(folder, size):
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_holds_up_nobody_and_is_told(launch, folder):
    with small_disk(folder, "64k") as disk:
        keyfs = launch(audit=disk / "audit.jsonl")
        key = keyfs.read("orders")
        fill(disk)
        with within(20, "2,000 opens with a full disk"):
            for _ in range(2000):
                assert keyfs.read("orders") == key
        status = eventually(lambda: (lambda a: a["lost"] and a)(seen.status(keyfs)["audit"]), what="the loss is counted")
        assert "No space left" in status["last_error"]
        assert seen.total(keyfs, "keyfs_audit_lost_total") >= status["lost"]
        eventually(lambda: any("audit" in line and "No space left" in line for line in keyfs.log().splitlines()), what="the log's line")
        os.unlink(disk / "ballast")
        known = 0

        def told():
            nonlocal known
            keyfs.read("orders")
            known += 1
            return [line for line in whole_lines(keyfs) if line["event"] == "lost"]

        eventually(told, what="a line that tells of those that were lost")
        assert eventually(lambda: seen.status(keyfs)["audit"]["last_error"] is None, what="all is well again")
        keyfs.terminate()  # it writes what is on its way still
        found = whole_lines(keyfs)
        opens = sum(line["event"] == "open" for line in found)
        assert sum(line["lines"] for line in found if line["event"] == "lost") + opens == 2001 + known


def fill(disk):
    with open(disk / "ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 1024)


def test_required_hands_nothing_out_that_a_full_disk_cannot_keep(launch, folder):
    with small_disk(folder, "64k") as disk:
        keyfs = launch(audit=disk / "audit.jsonl", audit_required=True)
        key = keyfs.read("orders")
        fill(disk)
        given = 1
        while seen.error_name(keyfs.read, "orders") is None:
            given += 1
            assert given < 100, "nobody notices that the disk is full"
        with within(20, "500 opens with a full disk"):
            for _ in range(500):
                assert seen.error_name(keyfs.read, "orders") == "EIO"
        assert seen.error_name(keyfs.read, "other") == "EIO"
        # Each that was given out has its line, which was there before the open came back.
        assert [line["id"] for line in whole_lines(keyfs) if line.get("verdict") == "allowed"] == ["orders"] * given
        lost = seen.status(keyfs)["audit"]["lost"]
        eventually(lambda: "keys are not handed out (audit_required)" in keyfs.log(), what="the log's line")
        assert run("status", keyfs.mount).returncode == PARTIAL
        os.unlink(disk / "ballast")
        eventually(lambda: seen.error_name(keyfs.read, "orders") is None, what="the key again")
        assert keyfs.read("orders") == key
        keyfs.terminate()
        refused = [line for line in whole_lines(keyfs) if line.get("errno") == "EIO"]
        assert sum(line["count"] for line in refused if line["id"] == "orders") >= 501
        assert all(line["reason"] == "the audit line can't be kept" for line in refused if line["id"] == "orders")
        # "other" was not even made.
        assert [line["created"] for line in refused if line["id"] == "other"] == [False]
        assert lost == 0
        assert keyfs.cli("describe", "other").returncode == 1


def test_with_required_each_key_in_the_store_has_a_line_whenever_the_disk_was_full(launch, folder, db):
    with small_disk(folder, "64k") as disk:
        keyfs = launch(audit=disk / "audit.jsonl", audit_required=True)
        keyfs.read("first")
        fill(disk)
        failed = [n for n in range(40) if seen.error_name(keyfs.read, f"key-{n}") == "EIO"]
        assert failed
        keyfs.terminate()
        made = keys_in(db)
        told = {line["id"] for line in whole_lines(keyfs) if line["event"] in ("creating", "created") or line.get("created")}
        assert made <= told and len(made) < 40


@pytest.mark.parametrize("required", [False, True])
def test_the_lines_after_a_lazy_unmount_of_the_audits_disk_are_where_its_name_leads(launch, folder, required):
    with small_disk(folder, "64k") as disk:
        keyfs = launch(audit=disk / "audit.jsonl", audit_required=required)
        keyfs.read("before")
        lines(keyfs, 1)
        subprocess.run(["umount", "-l", disk], check=True)
        try:
            keyfs.read("after")
            eventually(lambda: os.path.exists(keyfs.audit_file) and any(line["id"] == "after" for line in keyfs.audit()), what="the line where it can be found")
            eventually(lambda: "its file system unmounted" in keyfs.log(), what="the log's line")
            keyfs.terminate()
        finally:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)  # what small_disk unmounts


def keys_in(db):
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as keys:
        return {ident for (ident,) in keys.execute("SELECT id FROM records")}


@pytest.mark.parametrize("end", ["opener", "daemon"])
def test_a_key_whose_opener_was_let_go_while_it_was_created_has_its_line(keyfs, db, end):
    """The store is held, so that records wait on their way into it; the openers are killed, or keyfs is ended, meanwhile."""
    keyfs.read("first")
    for attempt in range(10):
        before = keys_in(db)
        holder = sqlite3.connect(db, timeout=20, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        cats = [subprocess.Popen(["cat", keyfs.path(f"key-{attempt}-{n}")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for n in range(4)]
        eventually(lambda: seen.status(keyfs)["keyring"]["waiting_opens"] == 4, what="all wait")
        if end == "opener":
            for cat in cats:
                cat.kill()
        else:
            keyfs.process.send_signal(signal.SIGTERM)
        for cat in cats:
            cat.wait()
        holder.execute("ROLLBACK")
        holder.close()
        if end == "opener":
            eventually(lambda: seen.status(keyfs)["keyring"]["flights"] == 0, what="all is decided")
        else:
            keyfs.process.wait(20)
        made = keys_in(db) - before
        if end == "daemon":
            break
        if made:
            keyfs.terminate()
            break
    created = [line for line in keyfs.audit() if line["created"] is not False and line["id"] != "first"]
    assert made or end == "daemon"
    assert {line["id"] for line in created} >= made and len(created) == len({line["id"] for line in created})
    for line in created:
        assert (line["event"], line["verdict"], line["errno"], line["uid"], line["count"]) == ("created", None, None, 0, 1)
        assert line["pid"] in [cat.pid for cat in cats] and line.keys() == FIELDS
    failed = [line for line in keyfs.audit() if line["event"] == "open" and line["verdict"] == "failed"]
    assert {line["errno"] for line in failed} == {"EINTR" if end == "opener" else "ENOTCONN"}


@pytest.mark.parametrize("how", ["restart", "SIGHUP"])
def test_a_line_that_was_cut_short_is_not_continued_by_the_next_one(keyfs, how):
    keyfs.read("before")
    lines(keyfs, 1)
    if how == "restart":
        keyfs.kill()
    with open(keyfs.audit_file, "a") as f:
        f.write('{"time":"2026-11-22T03:46:0')
    if how == "restart":
        keyfs.start()
    else:
        keyfs.process.send_signal(signal.SIGHUP)
        eventually(lambda: "polic" in keyfs.log(), what="it is read anew")
    keyfs.read("after")
    eventually(lambda: any(line.get("id") == "after" for line in whole_lines(keyfs)), what="a line that stands by itself")


def test_a_log_line_that_was_cut_short_is_not_continued_by_the_next_one(launch):
    keyfs = launch(start=False)
    os.makedirs(keyfs.state_dir, mode=0o700)
    path = os.path.join(keyfs.state_dir, "keyfs.log")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("time=2026-11-22T03:46:0")
    done = keyfs.mount_in_vain()
    assert done.returncode == 0, done.stderr
    unmount(keyfs.mount)
    with open(path) as f:
        assert f.read().startswith("time=2026-11-22T03:46:0\ntime=2")


@pytest.mark.parametrize("kind", ["link", "writable", "owner", "pipe"])
@pytest.mark.parametrize("what", ["audit", "log"])
def test_a_file_that_others_may_have_put_there_is_refused(launch, what, kind):
    keyfs = launch(start=False)
    os.makedirs(keyfs.state_dir, mode=0o700)
    path = keyfs.audit_file if what == "audit" else os.path.join(keyfs.state_dir, "keyfs.log")
    victim = os.path.join(keyfs.folder, "victim")
    if kind == "link":
        os.symlink(victim, path)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        open(path, "w").close()
        os.chmod(path, 0o622 if kind == "writable" else 0o600)
        os.chown(path, OTHER if kind == "owner" else 0, 0)
    done = keyfs.mount_in_vain()
    assert done.returncode in (1, 2) and path in done.stderr and done.stderr.count("\n") == 1, done.stderr
    expected = {"link": "symbolic link", "writable": "others can write it", "owner": f"is owned by uid {OTHER}", "pipe": "not a regular file"}
    assert expected[kind] in done.stderr
    assert not os.path.exists(victim)


def whole_lines(keyfs):
    """Parsed; a line that was cut short by a full disk is none, but must not spoil the next."""
    found, bad = [], 0
    with open(keyfs.audit_file) as f:
        for line in f:
            try:
                found.append(json.loads(line))
            except ValueError:
                bad += 1
    assert bad <= 2
    return found


def test_a_place_where_nothing_can_be_written_is_told_at_start(launch, folder):
    (folder / "file").write_text("no directory")
    keyfs = launch(start=False, audit=folder / "file" / "audit.jsonl")
    done = keyfs.mount_in_vain()
    assert done.returncode in (1, 2) and str(folder / "file") in done.stderr and done.stderr.count("\n") == 1


def test_a_disk_that_went_read_only_holds_up_nobody(launch, folder):
    with small_disk(folder, "1m") as disk:
        keyfs = launch(audit=disk / "audit.jsonl")
        key = keyfs.read("orders")
        lines(keyfs, 1)
        os.rename(disk / "audit.jsonl", disk / "old")
        subprocess.run(["mount", "-o", "bind", disk, disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
        try:
            keyfs.process.send_signal(signal.SIGHUP)  # it can't make the new file there
            for _ in range(100):
                assert keyfs.read("orders") == key
            eventually(lambda: any("audit" in line and "Read-only" in line for line in keyfs.log().splitlines()) or whole_old(disk) >= 101,
                       what="either it is told, or the old file goes on")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
        assert keyfs.alive()


def whole_old(disk):
    with open(disk / "old") as f:
        return sum(1 for _ in f)

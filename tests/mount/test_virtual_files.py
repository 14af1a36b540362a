""".keyfs/: status, metrics, version, rotation, for users in [admin]."""
import json
import os
import re
import shutil
import sqlite3
import subprocess

import pytest

import seen
from support.process import eventually
from support.users import UserProcess, run_as

ADMIN, APP = 4003, 4001


def test_status_is_json_and_true(launch):
    keyfs = launch()
    for n in range(3):
        keyfs.read(f"key-{n}")
    status = seen.status(keyfs)
    assert status["pid"] == keyfs.pid and status["mountpoint"] == keyfs.mount
    assert "sqlite" in json.dumps(status["store"])
    assert {region["name"] for region in status["regions"]} == {"local-a", "local-b", "local-c"}
    assert all(region["state"] == "good" or region["state"] == "closed" for region in status["regions"]), status["regions"]
    assert status["cache"]["keys"] == 3 and status["memory"]["locked_bytes"] > 0
    assert status["keyring"]["waiting_opens"] == 0
    eventually(lambda: seen.status(keyfs)["audit"]["lines"] == 6, what="a line for each creation that begins, and one for each open, is written")


def test_metrics_are_prometheus_text(launch):
    keyfs = launch()
    keyfs.read("orders")
    for _ in range(10):
        keyfs.read("orders")
    text = keyfs.read(".keyfs/metrics").decode()
    found = seen.samples(text)
    assert all(name.startswith("keyfs_") for name, _ in found)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    for name, labels in found:
        family = re.sub(r"_(bucket|sum|count)$", "", name) if re.sub(r"_(bucket|sum|count)$", "", name) in kinds else name
        assert family in kinds and family in helped, name
        assert kinds[family] != "counter" or name.endswith("_total"), name
    assert text.endswith("\n")
    assert seen.total(keyfs, "keyfs_created_total") == 1
    assert sum(v for (n, labels), v in found.items() if n == "keyfs_opens_total") == 11, [n for n, _ in found]
    assert seen.region_calls(keyfs) == 3  # one generates, two wrap


def lint(text):
    """What promtool's linter (`promtool check metrics`) complains of, by its rules: promlint in client_golang."""
    found, kinds, helped = [], dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)), dict(re.findall(r"^# HELP (\S+) ?(.*)$", text, re.M))
    for name, kind in kinds.items():
        words = name.split("_")
        if not helped.get(name, "").strip():
            found.append(f"{name}: no help text")
        if (kind == "counter") != name.endswith("_total"):
            found.append(f"{name}: _total is for counters, and all of them")
        if re.search(r"_(sum|count|bucket|info)$", name):
            found.append(f"{name}: ends as a part of another metric")
        if {"counter", "gauge", "histogram", "summary"} & set(words):
            found.append(f"{name}: names its type")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or ":" in name:
            found.append(f"{name}: not in lower case with underscores")
        if {"ms", "us", "ns", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "kb", "mb", "kib", "mib", "kilobytes", "megabytes",
                "percent", "percents"} & set(words):
            found.append(f"{name}: not in base units")
    return found


def test_metrics_have_nothing_that_promtools_linter_complains_of(launch):
    keyfs = launch()
    keyfs.read("orders")
    text = keyfs.read(".keyfs/metrics").decode()
    assert lint(text) == []
    found = seen.samples(text)
    for counted in ("keyfs_cache_evictions_total", "keyfs_audit_lost_total", "keyfs_log_lost_total", "keyfs_metrics_refused_total"):
        assert seen.total(keyfs, counted) == 0 and any(name == counted for name, _ in found), counted
    promtool = shutil.which("promtool")
    if promtool:
        subprocess.run([promtool, "check", "metrics"], input=text.encode(), check=True, timeout=60)


def test_histograms_add_up(launch):
    keyfs = launch()
    for n in range(20):
        keyfs.read(f"key-{n}")
    found = seen.metrics(keyfs)
    for (name, labels), count in found.items():
        if name.endswith("_count"):
            series = name.removesuffix("_count")
            buckets = sorted((float(dict(l)["le"]), v) for (n, l), v in found.items() if n == series + "_bucket" and set(labels) <= set(l))
            assert buckets and buckets[-1] == (float("inf"), count)
            assert [v for _, v in buckets] == sorted(v for _, v in buckets)


def test_rotation_tells_who_uses_which_key_and_who_runs_rotations(launch):
    keyfs = launch()
    keyfs.read("orders")
    with open(keyfs.path("orders"), "rb"):
        told = eventually(lambda: (found := json.loads(keyfs.read(".keyfs/rotation")))["consumers"] and found["is_holder"] and found,
                          what="the daemon knows its consumer, and holds the lock")
    mine = [one for one in told["consumers"] if one["uid"] == os.getuid()]
    assert mine and all(one["keys"] == ["orders/1"] and one["sections"] == [] for one in mine), told
    assert told["board"]["state"] == "there" and told["board"]["reason"] is None, told
    assert told["holder"] == told["host"] and told["may_run"] and told["epoch"] >= 1, told
    assert told["run"] is None and told["overdue"] == 0 and told["overdue_tickets"] == [] and told["openings_missed"] == 0, told
    brief = seen.status(keyfs)["rotation"]
    assert brief["board"] == "there" and brief["holder"] == told["host"] and brief["overdue"] == 0, brief
    assert seen.total(keyfs, "keyfs_rotation_is_holder") == 1 and seen.total(keyfs, "keyfs_rotation_known_consumers") >= 1
    assert seen.total(keyfs, "keyfs_rotation_runs_total") == 0 and seen.total(keyfs, "keyfs_rotation_overdue_keys") == 0


def test_a_damaged_lock_of_rotation_is_told_and_over_once_it_was_removed(launch, db):
    keyfs = launch()
    keyfs.read("orders")
    eventually(lambda: seen.status(keyfs)["rotation"]["is_holder"], what="the daemon holds the lock")
    with sqlite3.connect(db, timeout=20) as store:
        # With a revision of its own: what only has another text is written over by the holder's next renewal.
        store.execute("INSERT OR REPLACE INTO board VALUES ('run/head', 'no JSON', '0123456789abcdef')")
    eventually(lambda: seen.status(keyfs)["rotation"]["board_damaged"] == ["run/head"], 60, what="the damage is seen")
    done = subprocess.run([keyfs.program, "status", keyfs.mount], capture_output=True, text=True)
    assert done.returncode == 3 and "DAMAGED ON THE BOARD: run/head: " in done.stdout and "keys are served" in done.stdout, done
    assert json.loads(keyfs.read(".keyfs/rotation"))["board"]["damaged"][0]["name"] == "run/head"
    assert seen.total(keyfs, "keyfs_rotation_board_damaged_documents") == 1 and seen.total(keyfs, "keyfs_rotation_board_errors_total") >= 1
    keyfs.read("others")
    with sqlite3.connect(db, timeout=20) as store:
        store.execute("DELETE FROM board WHERE name = 'run/head'")
    eventually(lambda: seen.status(keyfs)["rotation"]["board_damaged"] == [] and seen.status(keyfs)["rotation"]["is_holder"], 60, what="it has the lock again")
    assert subprocess.run([keyfs.program, "status", keyfs.mount], capture_output=True).returncode == 0


def test_version(launch):
    keyfs = launch()
    text = keyfs.read(".keyfs/version").decode()
    assert re.fullmatch(r"keyfs \d+\.\d+\.\d+\n", text)
    assert text.split()[1] in subprocess.run([keyfs.program, "version"], capture_output=True, text=True, check=True).stdout


def test_their_sizes_are_those_of_what_is_read(launch):
    """cp and tail go by the size."""
    keyfs = launch()
    for name in ("status", "metrics", "version", "rotation"):
        path = keyfs.path(f".keyfs/{name}")
        assert os.stat(path).st_size > 0
        fd = os.open(path, os.O_RDONLY)
        try:
            assert os.fstat(fd).st_size == len(os.read(fd, 1 << 20)), name
        finally:
            os.close(fd)
        done = subprocess.run(["cat", path], capture_output=True, check=True)
        assert done.stdout.endswith(b"\n")
    assert json.loads(subprocess.run(["cp", keyfs.path(".keyfs/status"), "/dev/stdout"], capture_output=True, check=True).stdout)


def test_a_long_one_is_read_whole_and_of_one_moment(launch):
    """Read in small pieces while things change: one document, not a mixture."""
    keyfs = launch()
    fd = os.open(keyfs.path(".keyfs/status"), os.O_RDONLY)
    try:
        text = b""
        while piece := os.read(fd, 37):
            text += piece
            keyfs.read(f"key-{len(text) % 50}")
    finally:
        os.close(fd)
    assert json.loads(text)["cache"]["keys"] == 0


def test_only_admins_see_them(launch):
    keyfs = launch(policy={"*": {"read": "any", "create": "any"}}, admin={"admin": {"read": f"uid:{ADMIN}"}})
    with UserProcess(ADMIN, ADMIN) as admin, UserProcess(APP, APP) as app, UserProcess(0, 0) as root:
        assert json.loads(admin.read_file(keyfs.path(".keyfs/status")))
        assert set(admin.listdir(keyfs.path(".keyfs"))) == {"status", "metrics", "version", "rotation", "versions", "hex", "base64"}
        for other in (app, root):
            for name in ("status", "metrics", "version", "rotation"):
                assert seen.error_name(other.read_file, keyfs.path(f".keyfs/{name}")) == "EACCES"
            assert set(other.listdir(keyfs.path(".keyfs"))) == {"versions", "hex", "base64"}
            assert ".keyfs" not in other.listdir(keyfs.mount)


@pytest.mark.parametrize("sections", [{}, {"admin": {"read": "uid:4999"}}], ids=["no-admin-section", "another-admin"])
def test_nobody_is_admin_by_being_root(launch, sections):
    keyfs = launch(admin=sections)
    assert seen.error_name(keyfs.read, ".keyfs/status") == "EACCES"
    assert len(keyfs.read("orders")) == 32


def test_they_are_no_keys(launch, db):
    keyfs = launch()
    for name in ("other", "status.bak", "orders"):
        assert seen.error_name(keyfs.read, f".keyfs/{name}") == "ENOENT"
    assert seen.error_name(keyfs.read, ".keyfs2") == "ENOENT"
    assert seen.texts(db) == {}


def test_keyfs_status_reads_them(launch):
    keyfs = launch()
    keyfs.read("orders")
    done = subprocess.run([keyfs.program, "status", "--json", keyfs.mount], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (mount,) = json.loads(done.stdout)["mounts"]
    assert mount["mountpoint"] == keyfs.mount and mount["status"]["pid"] == keyfs.pid
    done = run_as(APP, APP, [], [keyfs.program, "status", keyfs.mount])
    assert done.returncode == 1 and "[admin]" in done.stderr


def test_they_answer_while_everything_is_out(launch, masters, db):
    """They must work when nothing else does."""
    for path in [launch().path("orders")]:
        with open(path, "rb") as f:
            f.read()
    for path in masters.values():
        os.rename(path, f"{path}.away")
    keyfs = launch()
    assert seen.error_name(keyfs.read, "orders") in ("EIO", "EACCES")
    regions = eventually(lambda: [r for r in seen.status(keyfs)["regions"] if r["last_error"]], what="a region's error")
    assert any("restore it from its backup" in region["last_error"] for region in regions)

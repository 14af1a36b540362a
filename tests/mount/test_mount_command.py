"""`keyfs mount` as its users see it: background and foreground, error messages, signals, the service manager."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess

import pytest

from support.cli import DONE, USAGE, daemons_of, error_of, run
from support.daemon import FS_TYPE, binary, mounted
from support.process import alive, eventually


def test_it_returns_once_the_mount_can_be_used_and_the_same_keys_are_there_after_a_restart(folder, place):
    done = run("mount", "--embedded", folder / "state", place)
    assert (done.returncode, done.stdout, done.stderr) == (DONE, "", "")
    assert mounted(place) == FS_TYPE
    key = (place / "orders").read_bytes()
    assert len(key) == 32
    (pid,) = daemons_of(place)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid))
    assert mounted(place) is None
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    assert (place / "orders").read_bytes() == key


def test_a_warning_before_it_goes_into_the_background_is_told_to_a_person(folder, place):
    (place / "file").write_text("hidden")
    done = run("mount", "--embedded", folder / "state", place)
    assert (done.returncode, done.stdout) == (DONE, "")
    assert done.stderr == f"keyfs: the mount hides files in its directory (mountpoint: {place})\n"


def test_that_no_key_can_be_made_is_told_to_a_person_with_one_advice(folder, place):
    """A damaged memory of what this host has seen: by the log alone nobody would know before the first key is missed."""
    state = folder / "state" / "state"
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    assert len((place / "orders").read_bytes()) == 32
    (pid,) = daemons_of(place)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid))
    (state / "replica.db").write_bytes(b"x" * 8192)
    done = run("mount", "--embedded", folder / "state", place)
    assert (done.returncode, done.stdout) == (DONE, "")
    line, = done.stderr.splitlines()
    assert line.startswith("keyfs: this host creates no keys (reason: ") and f"remove {state}/replica.db.damaged and restart keyfs" in line, line
    eventually(lambda: "this host creates no keys" in (state / "keyfs.log").read_text())
    log = (state / "keyfs.log").read_text()
    assert "the replica is damaged" in log and "backup" not in log, log


def test_the_daemon_lets_go_of_terminal_and_directory_and_leaves_no_core(folder, place):
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    (pid,) = daemons_of(place)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)} == {"/dev/null"}
    with open(f"/proc/{pid}/limits") as f:
        assert re.search(r"Max core file size +0 +0", f.read())
    eventually(lambda: "mounted" in (folder / "state" / "state" / "keyfs.log").read_text())


def test_relative_paths_are_those_of_whoever_typed_them(folder, place):
    assert run("mount", "--embedded", "state", "keys", cwd=folder).returncode == DONE
    assert len((place / "orders").read_bytes()) == 32
    assert (folder / "state" / "keys.db").exists()


def test_the_embedded_state_is_for_its_user_alone(folder, place):
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    assert len((place / "orders").read_bytes()) == 32
    assert stat.S_IMODE((folder / "state").stat().st_mode) == 0o700
    for path in (folder / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("how", ["absent", "a file", "in use", "an option"])
def test_a_failed_mount_says_why_and_leaves_nothing_behind(folder, place, how):
    options, target = [], place
    if how == "absent":
        target = folder / "nowhere"
    elif how == "a file":
        target = folder / "file"
        target.write_text("x")
    elif how == "in use":
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    else:
        options = ["-o", "rw"]
    before = mounted(target)
    line = error_of(run("mount", "--embedded", folder / "state", *options, target), USAGE)
    assert ("option rw" if options else str(target)) in line
    assert daemons_of(target) == []
    assert mounted(target) == before
    assert not (folder / "state").exists()


def test_a_second_mount_in_the_same_place_is_refused_and_the_first_goes_on(folder, place):
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    key = (place / "orders").read_bytes()
    assert "mounted" in error_of(run("mount", "--embedded", folder / "state", place), USAGE)
    assert (place / "orders").read_bytes() == key


def test_a_mount_point_left_dead_is_cleaned_up(folder, place):
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    key = (place / "orders").read_bytes()
    (pid,) = daemons_of(place)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
    with pytest.raises(OSError):
        (place / "orders").read_bytes()
    assert run("mount", "--embedded", folder / "state", place).returncode == DONE
    assert (place / "orders").read_bytes() == key


def test_too_little_lockable_memory_is_told_with_the_remedy(folder, place):
    done = subprocess.run(["capsh", "--drop=cap_ipc_lock", "--", "-c",
                           f"ulimit -l 64; exec {binary()} mount --embedded {folder}/state {place}"], capture_output=True, text=True, timeout=60)
    line = error_of(done, USAGE)
    assert "64 KiB" in line and "ulimit -l" in line and "LimitMEMLOCK" in line
    assert mounted(place) is None


def test_the_service_manager_hears_of_start_reload_and_end(make_daemon, folder):
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        daemon = make_daemon(env={"NOTIFY_SOCKET": address}).start()
        assert manager.recv(4096).startswith(b"READY=1\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096).startswith(b"READY=1\n")
        assert daemon.terminate() == 0
        assert manager.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_and_ends_well_though_a_file_is_open(make_daemon, how):
    daemon = make_daemon().start()
    file = os.open(daemon.path("orders"), os.O_RDONLY)
    try:
        assert len(os.read(file, 100)) == 32
        assert daemon.terminate(how) == 0
        assert mounted(daemon.mount) is None
        with pytest.raises(OSError):
            os.pread(file, 100, 0)
    finally:
        with contextlib.suppress(OSError):  # ENOTCONN: its file system is gone
            os.close(file)


def test_sighup_refuses_what_a_start_refuses_and_keeps_the_policy(make_daemon, folder):
    """A file that is half written, one that is empty, and a FIFO, which must not hang either: the next SIGHUP still works."""
    daemon = make_daemon().start()
    orders = daemon.read("orders")
    config = pathlib.Path(daemon.config_file)
    text = config.read_text()
    half = text[:text.index("[region local-a]\n") + len("[region local-a]\n")]
    line = half.count("\n")
    for new, reason in ((half, f"{config.name}:{line}: [region local-a] type: is missing"), ("", "no [region NAME] section"), (None, "is not a regular file")):
        config.unlink()
        if new is None:
            os.mkfifo(config, 0o600)
        else:
            config.write_text(new)
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: reason in daemon.log(), 10, f"{reason} in the log")
        assert daemon.read("orders") == orders
        for command in (["explain", "orders"], ["check"]):
            assert reason in error_of(run(*command, "-c", config), USAGE)
    assert "reloaded" not in daemon.log()
    config.unlink()
    config.write_text(text)
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: "configuration reloaded" in daemon.log(), 10, "it is taken again")


def test_sighup_takes_a_new_policy_and_refuses_a_bad_one(make_daemon):
    daemon = make_daemon().start()
    assert len(daemon.read("orders")) == 32
    with open(daemon.config_file) as f:
        text = f.read()

    def reload(new):
        assert new != text or new is text
        with open(daemon.config_file, "w") as f:
            f.write(new)
        daemon.process.send_signal(signal.SIGHUP)

    def refused():
        try:
            daemon.read("orders")
        except PermissionError:
            return True
        return False

    reload(text.replace("[keys *]\nread = uid:0", "[keys *]\nraed = uid:0"))
    eventually(lambda: "raed" in daemon.log())
    assert not refused()
    reload(text.replace("[keys *]\nread = uid:0\ncreate = uid:0", "[keys *]\nread = uid:4711\ncreate = uid:4711"))
    eventually(refused)
    reload(text)
    eventually(lambda: not refused())


@pytest.mark.parametrize("where", ["the directory itself", "above it", "its masters", "its state_dir", "in it, by a link"])
def test_a_mount_over_what_keyfs_itself_works_with_is_refused(folder, where):
    ours = folder / "above" / "parts"
    assert run("create", "--embedded", ours, "orders").returncode == DONE
    target = {"above it": ours.parent, "its masters": ours / "masters", "its state_dir": ours / "state"}.get(where, ours)
    if where == "in it, by a link":
        (ours / "mnt").mkdir()
        target = folder / "link"
        target.symlink_to(ours / "mnt")
    try:
        line = error_of(run("mount", "--embedded", ours, target), USAGE)
        assert "which keyfs itself works with" in line and str(ours) in line, line
        assert mounted(os.path.realpath(target)) is None
        assert run("list", "--embedded", ours).returncode == DONE
    finally:
        subprocess.run(["umount", "-l", target], capture_output=True)


def test_a_mount_option_without_its_value_is_named(folder, place):
    assert "fsname=" in error_of(run("mount", "--embedded", folder / "state", "-o", "fsname=", place), USAGE)


def test_json_tells_that_it_is_mounted_or_why_not(folder, place):
    assert json.loads(run("mount", "--json", "--embedded", folder / "state", place).stdout) == {"mountpoint": str(place), "mounted": True}
    again = run("mount", "--json", "--embedded", folder / "state", place)
    line = error_of(again, USAGE)
    told = json.loads(again.stdout)
    assert (told["mountpoint"], told["mounted"]) == (str(place), False)
    assert line == f"keyfs: {told['reason']}"

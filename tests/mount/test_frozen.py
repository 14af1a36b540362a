"""Disks that hang in state D: a thread that writes there can't be ended, and keeps its process. Nobody who waits for a keyfs command has to wait for the disk."""
import contextlib
import os
import select
import signal
import subprocess

import pytest

import seen
from frozen_disk import FrozenDisk
from seen import within
from support.daemon import binary, mounted
from support.process import eventually, spawn

# The bound of the tests' open_deadline, of taking the parts down (2 s), of being left (1 s), and for a machine that does other things as well.
DEADLINE = 2
BOUND = DEADLINE + 2 + 1 + 2


@pytest.fixture
def disk(folder):
    with FrozenDisk(folder) as disk:
        if disk.lacks:
            pytest.skip(f"no file system can be frozen here: {disk.lacks}")
        yield disk


@pytest.fixture
def keyfs(launch, disk):
    """Has run, with its state_dir or its database on a disk that then froze; there are the keys a and b."""

    def make(where, run=False):
        places = {"state_dir": disk.folder} if where == "state_dir" else {"sections": {"store": {"type": "sqlite", "path": f"{disk.folder}/keys.db"}}}
        keyfs = launch(open_deadline=f"{DEADLINE}s", **places)
        keyfs.read("a"), keyfs.read("b")
        if not run:
            keyfs.terminate()
        disk.freeze()
        return keyfs

    return make


def begun(keyfs, *argv):
    """The command, with its output in pipes that must come to their end: as in `$(keyfs ...)`."""
    command, *rest = argv
    return spawn([binary(), command, "-c", keyfs.config_file, *rest], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_of(process):
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ended(keyfs, *argv):
    with within(BOUND, f"keyfs {argv[0]}"):
        return end_of(begun(keyfs, *argv))


@pytest.mark.parametrize("where", ["state_dir", "database"])
def test_each_command_ends_although_its_thread_cannot(launch, disk, folder, where):
    """Each on a host and a store of its own, and all at once, since they only wait."""
    commands = [["create", "new"], ["describe", "a"], ["check"], ["heal"], ["list"], ["delete", "--yes", "a"]]
    hosts = []
    for n in range(len(commands)):
        frozen = f"{disk.folder}/{n}"
        os.mkdir(frozen, 0o700)
        keyfs = launch(name=f"host{n}", open_deadline=f"{DEADLINE}s", sections={"store": {"type": "sqlite", "path": f"{frozen if where == 'database' else folder}/{n}.db"}},
                       **({"state_dir": frozen} if where == "state_dir" else {}))
        keyfs.read("a"), keyfs.read("b")
        keyfs.terminate()
        hosts.append(keyfs)
    disk.freeze()
    with within(BOUND, "the slowest of the commands"):
        all_ended = [end_of(process) for process in [begun(keyfs, *argv) for keyfs, argv in zip(hosts, commands)]]
    for n, (argv, done) in enumerate(zip(commands, all_ended)):
        assert done.returncode in (0, 1, 3), done
        if where == "database":
            assert done.returncode == 1 and f"{disk.folder}/{n}" in done.stderr and "does not answer" in done.stderr, done
        if argv[0] == "create":
            assert done.returncode == 1, done


def test_a_script_sees_the_exit_status_and_the_end_of_the_output(keyfs, disk):
    config = keyfs("database").config_file
    script = f'out=$({binary()} create -c {config} new 2>&1); echo "status $?: $out"'
    with within(BOUND, "the script"):
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("status 1: keyfs: ") and disk.folder in done.stdout, done


@pytest.mark.parametrize("verb, state", [("disable", "disabled"), ("delete", "deleted")])
def test_a_change_that_this_host_cannot_record_is_told_as_done(keyfs, disk, verb, state):
    done = ended(keyfs("state_dir"), verb, *(["--yes"] if verb == "delete" else []), "a")
    assert done.returncode == 3, done
    assert done.stdout == f"a: {state}\n", done
    assert f"a is {state} in the store, but this host could not record the change" in done.stderr, done
    disk.thaw()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_that_hangs(launch, disk, how):
    keyfs = launch(open_deadline="60s", state_dir=disk.folder)
    keyfs.read("a")
    keyfs.terminate()
    disk.freeze()
    process = spawn([binary(), "create", "-c", keyfs.config_file, "new"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: _in_state_d(process.pid), what="it hangs")
    process.send_signal(how)
    with within(1 + 2, f"its end by {how.name}"):
        assert process.wait(30) == -how


def _in_state_d(pid):
    """Some thread of the process or of its children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            children = f.read().split()
        for each in (str(pid), *children):
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/stat") as f:
                    if f.read().rpartition(")")[2].split()[0] == "D":
                        return True
    return False


@pytest.mark.parametrize("where", ["state_dir", "audit"])
def test_a_mount_that_hangs_is_told_with_the_path_and_ends(launch, disk, where):
    audit = f"{disk.folder}/audit/audit.jsonl"
    keyfs = launch(start=False, open_deadline=f"{DEADLINE}s", **({"state_dir": disk.folder} if where == "state_dir" else {"audit": audit}))
    disk.freeze()
    with within(BOUND, "keyfs mount"):
        done = keyfs.mount_in_vain()
    assert done.returncode == 1, done
    assert done.stderr.startswith("keyfs: ") and done.stderr.count("\n") == 1, done
    assert (disk.folder if where == "state_dir" else audit) in done.stderr and "does not answer" in done.stderr, done
    assert mounted(keyfs.mount) is None


def test_a_mount_in_the_foreground_that_hangs_tells_the_path(launch, disk):
    """It is the process that hangs, and cannot end before the disk answers."""
    keyfs = launch(start=False, open_deadline=f"{DEADLINE}s", state_dir=disk.folder)
    disk.freeze()
    process = spawn(keyfs.argv(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with within(BOUND, "the message"):
        readable, _, _ = select.select([process.stderr], [], [], 2 * BOUND)
        line = process.stderr.readline() if readable else ""
    assert disk.folder in line and "does not answer" in line, line
    disk.thaw()
    assert process.wait(20) == 1
    process.stderr.close()


def test_a_daemon_told_to_end_has_unmounted_although_it_cannot_end(launch, disk):
    keyfs = launch(open_deadline=f"{DEADLINE}s", state_dir=disk.folder)
    key = keyfs.read("a")
    disk.freeze()
    assert seen.error_name(keyfs.read, "new") in ("EIO", "ETIMEDOUT")
    assert keyfs.read("a") == key
    keyfs.process.send_signal(signal.SIGTERM)
    eventually(lambda: mounted(keyfs.mount) is None, 5, "it is unmounted")
    disk.thaw()
    assert keyfs.process.wait(20) in (0, 1)

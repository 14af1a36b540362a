"""keyfs started in unusual circumstances: descriptors left open or closed, signals blocked or ignored, no threads available, no /proc."""
import fcntl
import os
import signal
import subprocess

import pytest

from support.cli import DONE, FAILED, daemons_of
from support.daemon import FS_TYPE, binary, mounted, unmount
from support.process import alive, eventually
from support.users import setpriv


def mount_by(shell, folder, place, **options):
    """A shell's line in which "$@" is the mount command."""
    return subprocess.run(["bash", "-c", shell, "bash", binary(), "mount", "--embedded", folder / "state", place], timeout=30, **options)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_with_closed_descriptors_it_mounts_and_returns(folder, place, closed):
    assert mount_by(f'"$@" {closed}', folder, place).returncode == DONE
    assert len((place / "orders").read_bytes()) == 32


def test_a_lock_that_was_handed_down_is_free_once_it_is_mounted(folder, place):
    lock = folder / "lock"
    done = mount_by(f'exec 9>{lock}; flock 9; "$@"', folder, place)
    assert done.returncode == DONE
    with open(lock) as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_pipeline_with_it_ends(folder, place):
    """The reader of the pipe comes to its end although the daemon lives on."""
    done = mount_by('{ "$@" 7>&1 >/dev/null; } | cat', folder, place)
    assert done.returncode == DONE
    assert mounted(place) == FS_TYPE


def test_signals_that_the_parent_blocked_or_ignored_are_heard(folder, place):
    def strange():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    argv = [binary(), "mount", "--embedded", folder / "state", place]
    assert subprocess.run(argv, timeout=30, preexec_fn=strange).returncode == DONE
    (pid,) = daemons_of(place)
    log = folder / "state" / "state" / "keyfs.log"
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: "reloaded" in log.read_text(), what="SIGHUP was heard")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid), what="SIGTERM was heard")
    assert mounted(place) is None


def open_device(folder):
    """/dev/fuse for everybody, in this test run's mount namespace."""
    node = folder / "fuse"
    if os.stat("/dev/fuse").st_mode & 0o002:
        return
    os.mknod(node, 0o020666, os.stat("/dev/fuse").st_rdev)
    node.chmod(0o666)
    subprocess.run(["mount", "--bind", node, "/dev/fuse"], check=True)


def test_without_threads_to_be_had_it_says_so_and_leaves_nothing(folder, place, people):
    """An ordinary user, since RLIMIT_NPROC does not bind root; from too few for anything to enough."""
    uid, gid, _ = people.ids("keyfs-t1")
    open_device(folder)
    home = folder / "home"
    for path in (home, place):
        path.mkdir(exist_ok=True)
        os.chown(path, uid, gid)
    outcomes = []
    try:
        for most in range(1, 24):
            done = subprocess.run(["prlimit", f"--nproc={most}", *setpriv(uid, gid, [], [binary(), "mount", "--embedded", home / "parts", place])],
                                  capture_output=True, text=True, timeout=60)
            outcomes.append(done.returncode)
            if done.returncode == DONE:
                assert mounted(place) == FS_TYPE
                (pid,) = daemons_of(place)
                os.kill(pid, signal.SIGTERM)
                eventually(lambda: not alive(pid))
            else:
                assert done.returncode == FAILED and done.stderr.strip(), (most, done)
                assert "terminate" not in done.stderr
            assert mounted(place) is None, most
            assert daemons_of(place) == [], most
    finally:
        unmount(place)
        if os.path.ismount("/dev/fuse"):
            subprocess.run(["umount", "-l", "/dev/fuse"], check=True)
    assert DONE in outcomes and FAILED in outcomes, outcomes


def test_with_proc_hidden_a_good_mount_is_kept(folder, place):
    """In a mount namespace of its own, with nothing at /proc."""
    script = 'mount -t tmpfs none /proc && "$@" && cat "${@: -1}/orders" | wc -c'
    done = subprocess.run(["unshare", "--mount", "bash", "-c", script, "bash", binary(), "mount", "--embedded", folder / "state", place],
                          capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr) == ("32", "")
    for pid in daemons_of(place):
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not alive(pid))

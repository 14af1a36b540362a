"""A mount point is a path, a mount is an id: what is mounted over, below or beside a keyfs is not mistaken for it. Also daemons that do not answer."""
import os
import signal
import subprocess

import seen
from support import daemon as d
from support.process import eventually


def test_a_file_system_over_the_mount_point_survives_the_end(launch):
    keyfs = launch()
    subprocess.run(["mount", "-t", "tmpfs", "none", keyfs.mount], check=True)
    with open(keyfs.path("theirs"), "w") as f:
        f.write("x")
    keyfs.process.send_signal(signal.SIGTERM)
    assert keyfs.process.wait(20) == 0
    assert os.listdir(keyfs.mount) == ["theirs"]
    keyfs.logged("left alone")
    subprocess.run(["umount", keyfs.mount], check=True)
    keyfs.start()
    assert len(keyfs.read("orders")) == 32


def test_after_its_folder_was_renamed_it_takes_away_itself_and_no_other(launch, folder):
    first = launch(start=False)
    first.mount = str(folder / "p" / "keys")
    os.makedirs(first.mount)
    first.start()
    os.rename(folder / "p", folder / "q")
    second = launch(start=False)
    second.mount = first.mount
    os.makedirs(second.mount)
    second.start()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(20) == 0
    assert d.mounted(folder / "q" / "keys") is None
    assert second.alive() and len(second.read("orders")) == 32
    assert second.terminate() == 0


def test_one_that_is_hidden_does_not_count_as_mounted(launch, folder):
    hidden = launch(start=False)
    hidden.mount = str(folder / "p" / "keys")
    os.makedirs(hidden.mount)
    hidden.start()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "p"], check=True)
    try:
        seen_one = launch(start=False)
        seen_one.mount = hidden.mount
        os.makedirs(seen_one.mount)
        seen_one.start()
        eventually(lambda: "msg=mounted" in seen_one.log(), what="mounted, as one sees it there")
        assert len(seen_one.read("orders")) == 32
        seen_one.process.send_signal(signal.SIGTERM)
        assert seen_one.process.wait(20) == 0
        assert os.listdir(seen_one.mount) == []
    finally:
        subprocess.run(["umount", "-l", folder / "p"], check=True)
    assert hidden.alive() and len(hidden.read("orders")) == 32


def test_a_stopped_daemon_is_told_of_and_holds_up_nobody(launch, folder):
    stopped, alive = launch(), launch()
    stopped.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        with seen.within(15, "keyfs status of all mounts"):
            done = subprocess.run([alive.program, "status"], capture_output=True, text=True, timeout=60)
        assert f"{stopped.mount}: does not answer" in done.stderr
        assert alive.mount in done.stdout
        assert done.returncode == 3
        with seen.within(15, "another mount"):
            other = launch()
            assert len(other.read("orders")) == 32
        with seen.within(15, "a mount in the same place"):
            other = launch(start=False)
            other.mount = stopped.mount
            refused = other.mount_in_vain()
        assert refused.returncode == 2 and "does not answer" in refused.stderr
        other.mount = str(folder / "none")
    finally:
        stopped.process.send_signal(signal.SIGCONT)
    eventually(lambda: len(stopped.read("orders")) == 32)


def test_status_of_a_key_that_is_bound_onto_a_file_says_what_it_is(launch, folder):
    keyfs = launch()
    keyfs.read("orders")
    place = folder / "app.key"
    place.write_text("")
    subprocess.run(["mount", "--bind", keyfs.path("orders"), place], check=True)
    try:
        done = subprocess.run([keyfs.program, "status", place], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"{place}: is orders of a keyfs" in done.stderr and done.stderr.rstrip().endswith(keyfs.mount)
        everything = subprocess.run([keyfs.program, "status"], capture_output=True, text=True, timeout=60)
        assert str(place) not in everything.stdout + everything.stderr
    finally:
        subprocess.run(["umount", "-l", place], check=True)

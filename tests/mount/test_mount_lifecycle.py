"""From mount to unmount: what the mount is, how it ends, what a killed daemon leaves behind and how that is cleaned up, how the policy is reloaded."""
import os
import signal
import stat
import subprocess
import threading

import pytest

import seen
from support import daemon as d
from support.process import eventually
from support.users import UserProcess, run_as

APP, OTHER = 4001, 4002


def mount_line(path):
    with open("/proc/self/mountinfo", errors="surrogateescape", newline="\n") as f:
        left, right = next(line for line in f if line.split()[4] == str(path)).split(" - ")
    return right.split()[0], right.split()[1], set(left.split()[5].split(",")) | set(right.split()[2].split(","))


def test_what_it_is_mounted_as(launch):
    keyfs = launch()
    kind, source, options = mount_line(keyfs.mount)
    assert (kind, source) == ("fuse.keyfs", "keyfs")
    assert {"ro", "nodev", "nosuid", "noexec", "max_read=4096", "allow_other"} <= options
    assert "default_permissions" not in options


def test_the_source_s_name_may_be_chosen(launch):
    keyfs = launch(options=["-o", "fsname=payroll"])
    assert mount_line(keyfs.mount)[1] == "payroll"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_and_unmounts_it(launch, how):
    keyfs = launch()
    keyfs.read("orders")
    assert keyfs.terminate(how) == 0
    assert d.mounted(keyfs.mount) is None and os.listdir(keyfs.mount) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_also_while_files_are_open_and_the_mount_is_somebody_s_directory(launch, how):
    keyfs = launch()
    key = keyfs.read("orders")
    with UserProcess(0, 0) as user, subprocess.Popen(["sleep", "1000"], cwd=keyfs.mount) as sleeper:
        fd = user.open(keyfs.path("orders"))
        assert user.read(fd, 100) == key
        assert keyfs.terminate(how) == 0
        assert seen.error_name(user.pread, fd, 100, 0) in ("ENOTCONN", "ECONNABORTED")
        sleeper.kill()
    keyfs.start()
    assert keyfs.read("orders") == key


def test_fusermount_ends_the_daemon(launch):
    keyfs = launch()
    subprocess.run(["fusermount3", "-u", keyfs.mount], check=True)
    assert keyfs.process.wait(20) == 0


def test_umount_ends_the_daemon(launch):
    keyfs = launch()
    subprocess.run(["umount", keyfs.mount], check=True)
    assert keyfs.process.wait(20) == 0


def test_killed_and_mounted_again_in_the_same_place(launch):
    keyfs = launch()
    keys = {f"key-{n}": keyfs.read(f"key-{n}") for n in range(5)}
    for _ in range(3):
        keyfs.kill()
        assert d.mounted(keyfs.mount) == d.FS_TYPE, "the dead mount stays, as it would for a user"
        assert seen.error_name(os.listdir, keyfs.mount) == "ENOTCONN"
        keyfs.start()
        assert {ident: keyfs.read(ident) for ident in keys} == keys
    with open("/proc/self/mountinfo", errors="surrogateescape", newline="\n") as f:
        assert sum(line.split()[4] == keyfs.mount for line in f) == 1, "dead mounts are not piled up"


def test_killed_while_a_file_was_open(launch):
    """The old descriptor is dead, and shows nothing of another key later."""
    keyfs = launch()
    keyfs.read("orders")
    with UserProcess(0, 0) as user:
        fd = user.open(keyfs.path("orders"))
        keyfs.kill()
        assert seen.error_name(user.pread, fd, 100, 0) in ("ENOTCONN", "ECONNABORTED")
        keyfs.start()
        for n in range(5):
            keyfs.read(f"key-{n}")
        assert seen.error_name(user.pread, fd, 100, 0) in ("ENOTCONN", "ECONNABORTED")
        assert len(user.read_file(keyfs.path("orders"))) == 32


def test_where_one_lives_no_second_is_mounted(launch, folder):
    keyfs = launch()
    key = keyfs.read("orders")
    other = launch(start=False)
    other.mount = keyfs.mount
    done = other.mount_in_vain()
    assert done.returncode in (1, 2) and keyfs.mount in done.stderr and done.stderr.count("\n") == 1
    assert keyfs.read("orders") == key and keyfs.alive()
    other.mount = str(folder / "none")


def test_in_the_background_it_returns_once_it_can_be_used(launch):
    keyfs = launch(start=False)
    for _ in range(5):
        argv = [keyfs.program, "mount", *keyfs.source, keyfs.mount]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        try:
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert len(keyfs.read("orders")) == 32
            pid = seen.status(keyfs)["pid"]
            with open(f"/proc/{pid}/stat") as f:
                assert f.read().rsplit(")", 1)[1].split()[3] != str(os.getsid(0)), "it has a session of its own"
            assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)} == {"/dev/null"} and os.readlink(f"/proc/{pid}/cwd") == "/"
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: d.mounted(keyfs.mount) is None, what="unmounted")
            eventually(lambda: not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z", what="ended")
        finally:
            d.unmount(keyfs.mount)


def test_a_daemon_in_the_background_holds_no_pipe_of_its_caller(launch):
    """`x=$(keyfs mount ...)` comes back."""
    keyfs = launch(start=False)
    try:
        done = subprocess.run(["bash", "-c", 'x=$("$@" 2>&1); echo "[$x]"', "bash", keyfs.program, "mount", *keyfs.source, keyfs.mount], capture_output=True,
                              text=True, timeout=30)
        assert done.stdout == "[]\n"
    finally:
        d.unmount(keyfs.mount)


@pytest.mark.parametrize("command", ["echo x > {0}/orders", "echo x >> {0}/orders", "echo x > {0}/new", "touch {0}/orders", "truncate -s 0 {0}/orders", "rm -f {0}/orders",
                                     "mkdir {0}/d", "mv {0}/orders {0}/b", "ln -s x {0}/l", "ln {0}/orders {0}/l", "mkfifo {0}/f", "chmod 600 {0}/orders",
                                     "chown 1 {0}/orders", "setfattr -n user.x -v y {0}/orders", "rmdir {0}/.keyfs", "cp /etc/hostname {0}/copy",
                                     "tee {0}/orders < /etc/hostname"])
def test_writes_are_refused(keyfs_with_orders, command):
    keyfs = keyfs_with_orders
    before = keyfs.read("orders")
    done = subprocess.run(["bash", "-c", command.format(keyfs.mount)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    # An id that may be created exists to a look-up, so the kernel refuses to make another thing of that name before it comes to the mount's being read-only.
    made = command.split()[0] in ("mkdir", "ln", "mkfifo")
    assert done.returncode != 0 and ("File exists" if made else "Read-only file system") in done.stderr, done.stderr
    assert keyfs.read("orders") == before


@pytest.fixture
def keyfs_with_orders(launch):
    keyfs = launch()
    keyfs.read("orders")
    return keyfs


def test_nothing_in_it_is_run(launch):
    keyfs = launch()
    keyfs.read("orders")
    assert seen.error_name(subprocess.run, [keyfs.path("orders")]) == "EACCES"


# -- reloading the policy

def rewrite(keyfs, policy):
    """The configuration with other [keys] sections; then SIGHUP."""
    with open(keyfs.config_file) as f:
        parts = f.read().split("[")
    kept = [part for part in parts if not part.startswith("keys ")]
    keys = [f"keys {glob}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items()) + "\n" for glob, entries in policy.items()]
    with open(keyfs.config_file, "w") as f:
        f.write("[".join(kept + keys))
    keyfs.process.send_signal(signal.SIGHUP)


def test_a_policy_that_permits_less_takes_effect_at_once(launch):
    keyfs = launch(policy={"*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}})
    path = keyfs.path("orders")
    with UserProcess(APP, APP) as app, UserProcess(OTHER, OTHER) as other:
        key = app.read_file(path)
        assert os.stat(path).st_uid == APP  # now the kernel has its attributes
        rewrite(keyfs, {"*": {"read": f"uid:{OTHER}"}})
        eventually(lambda: seen.error_name(app.read_file, path) == "EACCES", what="the new policy")
        assert seen.error_name(app.read_file, path) == "EACCES" and app.access(path, os.R_OK) is False
        assert other.read_file(path) == key and other.access(path, os.R_OK) is True
        eventually(lambda: os.stat(path).st_uid == OTHER, 10, "cached attributes are dropped")
        rewrite(keyfs, {"payments-*": {"read": "any"}})
        eventually(lambda: seen.error_name(other.read_file, path) == "ENOENT", what="hidden by the new policy")
        eventually(lambda: seen.error_name(os.stat, path) == "ENOENT", 10, "cached names are dropped")
        rewrite(keyfs, {"*": {"read": f"uid:{APP}, gid:{APP}"}})
        eventually(lambda: seen.error_name(app.read_file, path) is None, what="permitted again")
        assert app.read_file(path) == key
        eventually(lambda: os.stat(path).st_mode & 0o777 == 0o440, 10, "the mode of the new section")


def test_a_policy_with_a_mistake_is_refused_and_the_old_one_stays(launch):
    keyfs = launch(policy={"*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}})
    with UserProcess(APP, APP) as app, UserProcess(OTHER, OTHER) as other:
        key = app.read_file(keyfs.path("orders"))
        rewrite(keyfs, {"*": {"reed": f"uid:{OTHER}"}})
        eventually(lambda: "reed" in keyfs.log(), what="the log names the mistake")
        (line,) = [line for line in keyfs.logged("reed").splitlines() if "reed" in line]
        assert keyfs.config_file + ":" in line
        assert app.read_file(keyfs.path("orders")) == key
        assert seen.error_name(other.read_file, keyfs.path("orders")) == "EACCES"


def test_reloads_while_it_is_read(launch):
    """What both policies permit never fails; what neither permits never succeeds."""
    keyfs = launch(policy={"*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}})
    done, wrong = threading.Event(), []
    with UserProcess(APP, APP) as app, UserProcess(OTHER, OTHER) as other:
        key = app.read_file(keyfs.path("orders"))

        def read():
            while not done.is_set():
                if app.read_file(keyfs.path("orders")) != key or seen.error_name(other.read_file, keyfs.path("orders")) != "EACCES":
                    wrong.append("a read during reloads")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for n in range(20):
                more = {f"none-{m}": {"read": "any"} for m in range(n + 1)}
                rewrite(keyfs, {**more, "*": {"read": f"uid:{APP}, uid:{5000 + n}", "create": f"uid:{APP}"}})
                eventually(lambda: seen.status(keyfs)["policy"]["sections"] == n + 2, what="read anew")
        finally:
            done.set()
            thread.join()
    assert not wrong


# -- as another user

@pytest.fixture
def open_device(folder):
    """A /dev/fuse that everybody may open, as udev makes it; where it is root's own, one is put in its place, for this test run's mount namespace alone."""
    if os.stat("/dev/fuse").st_mode & 0o002:
        yield
        return
    if os.environ.get("KEYFS_TEST_SHARED_MOUNTS"):
        pytest.skip("/dev/fuse is for root only here, and its place is everybody's")
    node = folder / "fuse"
    os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    node.chmod(0o666)
    subprocess.run(["mount", "--bind", node, "/dev/fuse"], check=True)
    yield
    subprocess.run(["umount", "-l", "/dev/fuse"], check=True)


def test_an_ordinary_user_is_told_why_allow_other_is_refused(folder, open_device, people):
    if os.path.exists("/etc/fuse.conf") and any(line.strip() == "user_allow_other" for line in open("/etc/fuse.conf")):
        pytest.skip("it is permitted here")
    uid, gid, groups = people.ids("keyfs-t1")
    (folder / "keys").mkdir()
    os.chown(folder / "keys", uid, gid)
    (folder / "home").mkdir()
    os.chown(folder / "home", uid, gid)
    done = run_as(uid, gid, groups, [d.binary(), "mount", "--embedded", str(folder / "home" / "parts"), "-o", "allow_other", str(folder / "keys")])
    assert done.returncode == 1
    ours = done.stderr.splitlines()[-1]  # after what fusermount3 has to say
    assert ours.startswith(f"keyfs: cannot mount on {folder}/keys") and "user_allow_other" in ours
    assert d.mounted(folder / "keys") is None


def test_an_ordinary_user_is_told_of_a_device_that_is_closed_to_them(folder, people):
    if os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        pytest.skip("everybody may open it here")
    uid, gid, groups = people.ids("keyfs-t1")
    for name in ("keys", "home"):
        (folder / name).mkdir()
        os.chown(folder / name, uid, gid)
    done = run_as(uid, gid, groups, [d.binary(), "mount", "--embedded", str(folder / "home" / "parts"), str(folder / "keys")])
    assert done.returncode == 1
    assert "this user may not open /dev/fuse, whose mode should be 0666" in done.stderr.splitlines()[-1]
    assert d.mounted(folder / "keys") is None


def test_an_ordinary_user_mounts_for_itself(launch, folder, open_device, people):
    uid, gid, groups = people.ids("keyfs-t1")
    home = folder / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    (home / "keys").mkdir()
    os.chown(home / "keys", uid, gid)
    done = run_as(uid, gid, groups, [d.binary(), "mount", "--embedded", str(home / "parts"), str(home / "keys")])
    try:
        assert (done.returncode, done.stderr) == (0, "")
        key = run_as(uid, gid, groups, ["cat", str(home / "keys" / "orders")], text=False).stdout
        assert len(key) == 32
        assert run_as(OTHER, OTHER, [], ["cat", str(home / "keys" / "orders")]).returncode == 1
        assert seen.error_name(open, home / "keys" / "orders") == "EACCES"
        run_as(uid, gid, groups, ["fusermount3", "-u", str(home / "keys")]).check_returncode()
    finally:
        d.unmount(home / "keys")

"""Other users and containers are what they say."""
import errno
import os

import pytest

from .container import Container
from .process import alive, eventually
from .users import TestUsers, UserProcess, run_as


@pytest.fixture
def folder(tmp_path):
    for parent in (tmp_path, *tmp_path.parents):
        if str(parent).startswith("/tmp/"):
            os.chmod(parent, 0o755)
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00bytes\n")
    os.chown(secret, 4001, 4002)
    os.chmod(secret, 0o440)
    return tmp_path


def test_run_as_has_just_the_ids_given():
    done = run_as(4001, 4002, [4003, 4004], ["id"])
    assert done.stdout == "uid=4001 gid=4002 groups=4002,4003,4004\n"
    assert run_as(4001, 4002, [], ["id", "-G"]).stdout == "4002\n"
    assert run_as(0, 0, [], ["grep", "CapInh", "/proc/self/status"]).stdout.split()[1] == "0" * 16


def test_a_child_of_another_user_reads_what_it_may(folder):
    with UserProcess(4009, 4009, [4002]) as member, UserProcess(4009, 4009) as stranger:
        assert member.read_file(str(folder / "secret")) == b"\x00bytes\n"
        assert member.mmap_read(str(folder / "secret")) == b"\x00bytes\n"
        fd = member.open(str(folder / "secret"))
        assert member.pread(fd, 5, 1) == b"bytes"
        assert member.groups() == [4002] and member.getuid() == 4009
        with pytest.raises(PermissionError):
            stranger.read_file(str(folder / "secret"))
        with pytest.raises(OSError) as e:
            stranger.read(99, 1)
        assert e.value.errno == errno.EBADF
        pid = member.pid
    eventually(lambda: not alive(pid))


def test_a_child_that_drops_root(folder):
    with UserProcess(0, 0) as child:
        fd = child.open(str(folder / "secret"))
        child.setuid(4009)
        assert child.read(fd, 100) == b"\x00bytes\n"
        with pytest.raises(PermissionError):
            child.open(str(folder / "secret"))


def test_named_users_and_groups():
    with TestUsers("keyfs-t1", "keyfs-t2", groups={"keyfs-tg": ["keyfs-t2"]}) as users:
        uid, gid, groups = users.ids("keyfs-t2")
        assert run_as(uid, gid, groups, ["id", "-Gn"]).stdout.split() == ["keyfs-t2", "keyfs-tg"]
        assert users.ids("keyfs-t1")[2] == []
    assert run_as(0, 0, [], ["id", "keyfs-t1"]).returncode != 0


def test_a_container_reads_binds_of_a_directory_and_of_a_file_as_its_uid(folder):
    with Container([(str(folder), "/keys", ["ro"]), (str(folder / "secret"), "/one/key", ["ro"])]) as container:
        for path in ("/keys/secret", "/one/key"):
            allowed = container.run(["cat", path], uid=4001, gid=1)
            assert (allowed.returncode, allowed.stdout) == (0, b"\x00bytes\n"), allowed.stderr
            by_group = container.run(["cat", path], uid=7, gid=7, groups=[4002])
            assert by_group.stdout == b"\x00bytes\n"
            denied = container.run(["cat", path], uid=4009, gid=4009)
            assert denied.returncode == 1 and b"Permission denied" in denied.stderr and denied.stdout == b""
        assert container.run(["touch", "/keys/new"]).returncode == 1
        assert container.run(["sh", "-c", "hostname; exit 9"]).returncode == 9

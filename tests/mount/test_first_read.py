"""A new id gives 32 random bytes, and the same bytes forever after."""
import os
import signal
import stat
import subprocess

import pytest

import seen
from support import daemon as d
from support.process import eventually


def test_a_new_id_gives_32_random_bytes(launch):
    keyfs = launch()
    keys = [subprocess.run(["cat", keyfs.path(f"key-{n}")], capture_output=True, check=True).stdout for n in range(20)]
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == 20
    # 20 x 32 bytes: each value of a byte is expected 2.5 times; constant or counting bytes are out of the question.
    assert len(set(b"".join(keys))) > 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_the_same_bytes(launch, how):
    keyfs = launch()
    before = {f"key-{n}": keyfs.read(f"key-{n}") for n in range(10)}
    keyfs.restart(how)
    assert {ident: keyfs.read(ident) for ident in before} == before


def test_another_daemon_gives_the_same_bytes(launch):
    one, two = launch(), launch()
    assert one.read("orders") == two.read("orders")
    assert two.read("invoices") == one.read("invoices")


def test_the_configuration_says_how_long_new_keys_are_and_old_ones_stay(launch):
    keyfs = launch()
    old = keyfs.read("old")
    longer = launch(key_bytes=64)
    assert os.stat(longer.path("new")).st_size == 64
    assert len(longer.read("new")) == 64
    assert longer.read("old") == old
    assert os.stat(longer.path("old")).st_size == 32
    assert len(keyfs.read("new")) == 64
    assert os.stat(keyfs.path("new")).st_size == 64


def test_it_is_read_in_pieces_and_from_anywhere(launch):
    keyfs = launch()
    key = keyfs.read("orders")
    fd = os.open(keyfs.path("orders"), os.O_RDONLY)
    try:
        assert b"".join(os.pread(fd, 1, n) for n in range(40)) == key
        assert os.pread(fd, 100, 30) == key[30:]
        assert os.pread(fd, 10, 5) == key[5:15]
        assert os.pread(fd, 10, 32) == b"" and os.pread(fd, 10, 1 << 40) == b""
        assert os.lseek(fd, 0, os.SEEK_END) == 32
    finally:
        os.close(fd)


def test_embedded_needs_a_directory_and_nothing_else(folder):
    """The session of the README: mount, cat, unmount; again."""
    parts, mount = folder / "kept", folder / "keys"
    mount.mkdir()
    keys = []
    for _ in range(2):
        done = subprocess.run([d.binary(), "mount", "--embedded", parts, mount], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        try:
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            # It returned, so it can be used.
            assert d.mounted(mount) == d.FS_TYPE
            keys.append(subprocess.run(["cat", mount / "orders"], capture_output=True, check=True).stdout)
            subprocess.run(["fusermount3", "-u", mount], check=True, timeout=30)
        finally:
            d.unmount(mount)
        eventually(lambda: not _users_of(parts), what="the daemon ends once it is unmounted")
    assert len(keys[0]) == 32 and keys[0] == keys[1]
    assert stat.S_IMODE(parts.stat().st_mode) == 0o700
    assert seen.records(parts / "keys.db").keys() == {"orders"}
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in parts.rglob("*")}
    assert not {path: oct(mode) for path, mode in modes.items() if mode & 0o077}


def _users_of(folder):
    """Processes that have a file below folder open."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(link.startswith(f"{folder}/") for link in links):
            found.append(pid)
    return found

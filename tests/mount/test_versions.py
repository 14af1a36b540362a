"""Keys with several versions: .keyfs/versions, .keyfs/hex, .keyfs/base64, and what an open file tells of its version."""
import base64
import contextlib
import fcntl
import os
import select
import struct
import subprocess
import threading

import pytest

import rotating
import seen
from support.process import eventually
from support.users import run_as

KEYFS_IOC_VERSION = 0x80046B01  # fs/mount/keyfs.h: _IOR('k', 1, uint32_t)
APP = 4001


def bytes_at(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def version_of(fd):
    return struct.unpack("=I", fcntl.ioctl(fd, KEYFS_IOC_VERSION, bytes(4)))[0]


@contextlib.contextmanager
def opened(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def names(keyfs, ident):
    return sorted(os.listdir(keyfs.path(f".keyfs/versions/{ident}")))


@pytest.fixture
def rotated(launch, db, masters):
    """A daemon that has never seen the key before its third version; keyfs.keys has the bytes by number."""
    maker = launch()
    keys = {1: maker.read("orders")}
    maker.terminate()
    for number in (2, 3):
        keys[number] = rotating.rotate(db, masters, "orders", key=os.urandom(16 * number))
    daemon = launch()
    daemon.keys = keys
    return daemon


def test_each_version_is_a_file_and_current_leads_to_the_last(rotated):
    assert names(rotated, "orders") == ["1", "2", "3", "current"]
    for number, key in rotated.keys.items():
        assert bytes_at(rotated.path(f".keyfs/versions/orders/{number}")) == key
        assert os.stat(rotated.path(f".keyfs/versions/orders/{number}")).st_size == len(key)
    assert os.readlink(rotated.path(".keyfs/versions/orders/current")) == "3"
    assert rotated.read("orders") == bytes_at(rotated.path(".keyfs/versions/orders/current")) == rotated.keys[3]


def test_the_number_of_the_descriptor_fits_its_bytes_while_the_key_is_rotated(launch, db, masters):
    """basename $(readlink /proc/self/fd/N), ioctl and the bytes agree in every single open, and versions only rise."""
    keyfs = launch(fresh_for="1s")
    keys, last, failed, done = {1: keyfs.read("orders")}, 0, [], threading.Event()

    def encrypt():
        nonlocal last
        try:
            while not done.is_set():
                with opened(keyfs.path(".keyfs/versions/orders/current")) as fd:
                    number = int(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
                    assert version_of(fd) == number
                    assert number in keys and os.pread(fd, 4096, 0) == keys[number], number
                    assert number >= last, f"{number} after {last}"
                    last = number
        except Exception as e:  # shown by the test's own thread
            failed.append(e)

    encrypting = threading.Thread(target=encrypt)
    encrypting.start()
    try:
        for number in range(2, 7):
            key = keys[number] = os.urandom(32)  # noted before anybody can be served with it
            rotating.rotate(db, masters, "orders", key=key)
            eventually(lambda wanted=key: failed or bytes_at(keyfs.path("orders")) == wanted, what=f"version {number} is served")
    finally:
        done.set()
        encrypting.join()
    assert not failed, failed
    assert last >= 5


def test_the_link_creates_nothing_and_is_for_those_who_may_read(launch, db):
    keyfs = launch(policy={"app-*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}, "*": seen.EVERYTHING})
    for path in (".keyfs/versions/nothing/current", ".keyfs/versions/nothing/1"):
        assert seen.error_name(keyfs.read, path) == "ENOENT"
    assert seen.error_name(os.readlink, keyfs.path(".keyfs/versions/nothing/current")) == "ENOENT"
    assert seen.error_name(os.listdir, keyfs.path(".keyfs/versions/nothing")) == "ENOENT"
    assert seen.texts(db) == {}
    assert run_as(APP, APP, [], ["cat", keyfs.path("app-1")], text=False).returncode == 0
    for path in (".keyfs/versions/app-1/current", ".keyfs/versions/app-1/1", ".keyfs/hex/app-1", ".keyfs/base64/app-1"):
        assert seen.error_name(keyfs.read, path) == "EACCES"
    assert seen.error_name(os.listdir, keyfs.path(".keyfs/versions/app-1")) == "EACCES"
    done = run_as(APP, APP, [], ["sh", "-c", f"cd {keyfs.path('.keyfs/versions/app-1')} && ls && readlink current"])
    assert done.stdout.split() == ["1", "current", "1"], done.stderr


@pytest.mark.parametrize("name", ["01", "0", "1x", "4294967296", "7", "4294967295"])
def test_numbers_that_were_never_made_are_not_there(rotated, name):
    assert seen.error_name(rotated.read, f".keyfs/versions/orders/{name}") == "ENOENT"
    assert not os.path.exists(rotated.path(f".keyfs/versions/orders/{name}"))


def test_a_version_that_waits_to_be_current_is_not_there(rotated, db):
    record = seen.records(db)["orders"]
    del record["versions"]["3"]["promoted"]
    rotating.change(db, "orders", {**record, "current": 2, "pending": 3})
    assert seen.error_name(rotated.read, ".keyfs/versions/orders/3") == "ENOENT"
    assert names(rotated, "orders") == ["1", "2", "current"]


def test_retired_versions_are_revoked_and_no_longer_listed(rotated, db):
    rotating.retire(db, "orders", 2)
    assert names(rotated, "orders") == ["2", "3", "current"]
    assert seen.error_name(rotated.read, ".keyfs/versions/orders/1") == "EKEYREVOKED"
    assert bytes_at(rotated.path(".keyfs/versions/orders/2")) == rotated.keys[2]


def test_a_disabled_key_is_revoked_in_every_place(rotated):
    assert rotated.cli("disable", "orders").returncode == 0
    for path in ("orders", ".keyfs/versions/orders/1", ".keyfs/versions/orders/3", ".keyfs/hex/orders", ".keyfs/base64/orders"):
        assert seen.error_name(rotated.read, path) == "EKEYREVOKED", path
    assert seen.error_name(os.readlink, rotated.path(".keyfs/versions/orders/current")) == "EKEYREVOKED"
    assert seen.error_name(os.listdir, rotated.path(".keyfs/versions/orders")) == "EKEYREVOKED"


def test_an_id_with_an_at_sign_is_a_key_of_its_own(rotated):
    other = rotated.read("orders@1")
    assert other not in rotated.keys.values()
    assert bytes_at(rotated.path(".keyfs/versions/orders@1/1")) == other
    assert bytes_at(rotated.path(".keyfs/versions/orders/1")) == rotated.keys[1]


def test_views_are_the_text_of_the_key(rotated):
    key = rotated.read("orders")
    assert rotated.read(".keyfs/hex/orders") == key.hex().encode()
    assert rotated.read(".keyfs/base64/orders") == base64.b64encode(key)
    assert os.stat(rotated.path(".keyfs/hex/orders")).st_size == 2 * len(key)
    assert os.stat(rotated.path(".keyfs/base64/orders")).st_size == (len(key) + 2) // 3 * 4


def test_a_view_creates_the_key_like_its_plain_name(launch, db):
    keyfs = launch()
    text = keyfs.read(".keyfs/hex/orders")
    assert bytes.fromhex(text.decode()) == keyfs.read("orders")
    assert list(seen.records(db)) == ["orders"]
    eventually(lambda: len(keyfs.audit()) == 3, what="all lines")
    announced, line, _ = keyfs.audit()
    assert announced["event"] == "creating"
    assert (line["view"], line["asked"], line["version"], line["created"], line["verdict"]) == ("hex", None, 1, True, "allowed")


def test_the_audit_tells_which_version_was_asked_for_and_served(rotated):
    for path in ("orders", ".keyfs/versions/orders/1", ".keyfs/versions/orders/current", ".keyfs/base64/orders"):
        rotated.read(path)
    seen.error_name(rotated.read, ".keyfs/versions/orders/9")
    eventually(lambda: len(rotated.audit()) == 5, what="all lines")
    told = [(line["version"], line["asked"], line["view"], line["verdict"]) for line in rotated.audit()]
    assert sorted(told, key=str) == sorted([(3, None, None, "allowed"), (1, 1, None, "allowed"), (3, 3, None, "allowed"), (3, None, "base64", "allowed"),
                                            (None, 9, None, "absent")], key=str)


def test_who_is_refused_at_the_link_is_in_the_audit_as_at_any_other_door(launch):
    keyfs = launch(policy={"app-*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}, "*": seen.EVERYTHING})
    keyfs.read("orders")
    assert keyfs.cli("disable", "orders").returncode == 0
    keyfs.restart()
    for path, error in (("app-1", "EACCES"), ("orders", "EKEYREVOKED"), ("absent", "ENOENT")):
        assert seen.error_name(keyfs.read, f".keyfs/versions/{path}/current") == error

    def told():
        return [(line["id"], line["verdict"], line["errno"]) for line in keyfs.audit() if line.get("view") == "current"]

    eventually(lambda: len(told()) == 3, what="a line for each")
    assert told() == [("app-1", "denied", "EACCES"), ("orders", "failed", "EKEYREVOKED"), ("absent", "absent", "ENOENT")]


def test_attributes_are_of_the_version(launch, db, masters):
    maker = launch()
    maker.read("orders")
    rotating.rotate(db, masters, "orders", created="2001-02-03T04:05:06Z")
    keyfs = launch()
    calls = seen.region_calls(keyfs)

    def told(path, name):
        return os.getxattr(keyfs.path(path), f"user.keyfs.{name}").decode()

    assert told(".keyfs/versions/orders/2", "created") == told("orders", "created") == "2001-02-03T04:05:06Z"
    assert told(".keyfs/versions/orders/1", "created") > "2020"
    assert [told(f".keyfs/versions/orders/{n}", "version") for n in (1, 2)] == ["1", "2"]
    assert told(".keyfs/hex/orders", "version") == told("orders", "version") == "2"
    assert seen.region_calls(keyfs) == calls


WALKS = ["find .", "find . -type f", "find -L . -type f", "grep -r needle .", "tar -cf /dev/null .", "cp -a . $(mktemp -d)", "du -a .", "ls -laR",
         "python3 -c 'import os; [open(os.path.join(d, f)).read() for d, _, fs in os.walk(\".\") for f in fs]'"]


@pytest.mark.parametrize("command", WALKS)
def test_walking_through_keyfs_own_directory_opens_no_key(rotated, command):
    rotated.read(".keyfs/versions/orders/1")  # names that the kernel knows
    rotated.read(".keyfs/hex/orders")
    eventually(lambda: len(rotated.audit()) == 2, what="their lines")
    before = seen.region_calls(rotated)
    subprocess.run(["bash", "-c", command], cwd=rotated.path(".keyfs"), capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    assert seen.region_calls(rotated) == before
    assert len(rotated.audit()) == 2


def test_a_recursive_grep_at_the_root_opens_each_key_once(rotated):
    rotated.read(".keyfs/versions/orders/1")
    subprocess.run(["grep", "-r", "needle", "."], cwd=rotated.mount, capture_output=True, timeout=60)
    eventually(lambda: len(rotated.audit()) == 2, what="the lines")
    assert [line["asked"] for line in rotated.audit()] == [1, None]


def test_the_directory_is_for_all_and_its_files_for_admins(launch):
    keyfs = launch(policy={"*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}})
    assert sorted(os.listdir(keyfs.path(".keyfs"))) == ["base64", "hex", "metrics", "rotation", "status", "version", "versions"]
    done = run_as(APP, APP, [], ["sh", "-c", f"cd {keyfs.path('.keyfs')} && ls && ls versions hex base64 && cat hex/orders && cat status"])
    assert done.stdout.split()[:3] == ["base64", "hex", "versions"] and "Permission denied" in done.stderr
    assert os.stat(keyfs.path(".keyfs")).st_mode & 0o7777 == 0o555


def test_poll_wakes_who_only_polls_once_another_version_is_served(launch, db, masters):
    keyfs = launch(fresh_for="1s")
    keyfs.read("orders")
    with opened(keyfs.path("orders")) as fd:
        poller = select.poll()
        poller.register(fd, select.POLLIN | select.POLLPRI)
        assert poller.poll(0) == [(fd, select.POLLIN)]
        poller.modify(fd, select.POLLPRI)
        assert poller.poll(0) == []
        rotating.rotate(db, masters, "orders")
        assert poller.poll(20_000) == [(fd, select.POLLPRI)]
        assert version_of(fd) == 1
    with opened(keyfs.path("orders")) as fd:
        assert version_of(fd) == 2 and select.select([fd], [], [fd], 0) == ([fd], [], [])


def test_the_installed_header_is_c_and_works(rotated, folder):
    source = folder / "version.c"
    source.write_text('#include "keyfs.h"\n#include <fcntl.h>\n#include <stdio.h>\n'
                      'int main(int n, char **a) { uint32_t v; int fd = open(a[n - 1], O_RDONLY);\n'
                      '  if (fd < 0 || ioctl(fd, KEYFS_IOC_VERSION, &v) != 0) return 1;\n  printf("%u", v);\n  return 0; }\n')
    header = os.path.join(os.path.dirname(__file__), "..", "..", "fs", "mount")
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_GNU_SOURCE", "-I", header, "-o", folder / "version", source], check=True)
    for path, number in (("orders", "3"), (".keyfs/versions/orders/2", "2"), (".keyfs/hex/orders", "3")):
        assert subprocess.run([folder / "version", rotated.path(path)], capture_output=True, text=True, check=True).stdout == number
    assert subprocess.run([folder / "version", "/etc/hostname"]).returncode == 1

"""Every program reads a key whole, whatever its size and whoever asked for it first."""
import os
import shlex
import subprocess
import sys

import pytest

import seen
from support.process import eventually

SIZES = (16, 32, 64, 4096)

SPLICE = """
import os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
out, into = os.pipe()
while count := os.splice(source, into, 65536):
    sys.stdout.buffer.write(os.read(out, count))
"""
SENDFILE = """
import os, socket, sys
source = os.open(sys.argv[1], os.O_RDONLY)
one, other = socket.socketpair()
while os.sendfile(one.fileno(), source, None, 65536): pass
one.close()
while piece := other.recv(65536): sys.stdout.buffer.write(piece)
"""
RANGE = """
import errno, os, sys, tempfile
source = os.open(sys.argv[1], os.O_RDONLY)
with tempfile.TemporaryFile() as copy:
    try:
        while os.copy_file_range(source, copy.fileno(), 65536): pass
    except OSError as e:
        # Newer kernels do not copy from one kind of file system to another; programs go on by reading.
        assert e.errno == errno.EXDEV
        while piece := os.read(source, 65536): copy.write(piece)
    copy.seek(0)
    sys.stdout.buffer.write(copy.read())
"""
MAP = """
import mmap, os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
sys.stdout.buffer.write(mmap.mmap(source, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
"""


def python(program):
    """os.splice and os.sendfile are Python 3.10's: of the tests' own interpreter."""
    return f"{sys.executable} -Ic {shlex.quote(program)} {{0}}"


PROGRAMS = {
    "cat": "cat {0}", "busybox cat": "busybox cat {0}", "cp": "cp {0} $t && cat $t", "busybox cp": "busybox cp {0} $t && cat $t",
    "tar": "tar -cf - -C {d} {n} | tar -xOf -", "busybox tar": "busybox tar -cf - -C {d} {n} | tar -xOf -", "cpio": "cd {d} && echo {n} | busybox cpio -o -H newc | busybox cpio -i --to-stdout",
    "dd": "dd if={0} bs=7 status=none", "dd of pages": "dd if={0} bs=4096 iflag=fullblock status=none", "tail": "tail -c +1 {0}", "a pipe": "cat {0} | cat",
    "sendfile": python(SENDFILE), "splice": python(SPLICE), "copy_file_range": python(RANGE), "mmap": python(MAP),
}


def output(program, keyfs, ident):
    command = PROGRAMS[program].format(shlex.quote(keyfs.path(ident)), d=shlex.quote(keyfs.mount), n=ident)
    done = subprocess.run(["bash", "-c", f"set -o pipefail; t=$(mktemp -u); {command}; e=$?; rm -f $t; exit $e"], capture_output=True, timeout=60)
    assert done.returncode == 0, (program, ident, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def ids():
    return {f"{program.replace(' ', '-')}-{size}-{when}": (program, size, when) for program in PROGRAMS for size in SIZES for when in ("cold", "listed", "looked-at")}


def test_every_program_reads_keys_of_every_size_whole(launch, ids):
    """The first that is ever asked of the name, after a listing, and after somebody who may not read it has looked; then once more, warm."""
    keyfs = launch(policy={"*": seen.EVERYTHING})
    for size in SIZES:
        keyfs.cli("create", "--bytes", str(size), *[ident for ident, (_, of, _) in ids.items() if of == size]).check_returncode()

    def read_all(of):
        for ident, (program, size, when) in ids.items():
            if when != of:
                continue
            if when == "looked-at":
                subprocess.run(["setpriv", "--reuid", "4001", "--clear-groups", "stat", keyfs.path(ident)], check=True, capture_output=True)
            first = output(program, keyfs, ident)
            assert len(first) == size, ident
            assert keyfs.read(ident) == first
            assert output(program, keyfs, ident) == first

    read_all("cold")
    read_all("looked-at")
    eventually(lambda: len(os.listdir(keyfs.mount)) == len(ids) + 1, what="all are listed")
    read_all("listed")


def test_stat_tells_the_true_size_before_anybody_has_opened_it(launch):
    keyfs = launch()
    for size in SIZES:
        assert keyfs.cli("create", "--bytes", str(size), f"key-{size}").returncode == 0
        assert os.stat(keyfs.path(f"key-{size}")).st_size == size
    assert seen.region_calls(keyfs) == 0, "to look unwraps nothing"


def test_what_is_told_to_who_may_not_read_is_never_too_small(launch):
    keyfs = launch(policy={"*": {"read": "uid:4001"}})
    assert keyfs.cli("create", "--bytes", "64", "k").returncode in (0, 1)
    assert os.stat(keyfs.path("k")).st_size == 4096
    assert os.stat(keyfs.path("absent")).st_size == 4096


def test_another_host_makes_it_longer_between_the_look_and_the_open(launch):
    """A look at a name that isn't there tells the size that it would be made with; sendfile after that would stop at it."""
    keyfs, other = launch(), launch(key_bytes=64)
    for n, program in enumerate(("busybox cat", "sendfile", "splice", "copy_file_range", "mmap", "cat")):
        assert os.stat(keyfs.path(f"new-{n}")).st_size == 32
        key = other.read(f"new-{n}")
        assert len(key) == 64
        assert output(program, keyfs, f"new-{n}") == key, program
    lines = [line for line in keyfs.audit() if line["id"] == "new-0"]
    assert [line["verdict"] for line in lines] == ["allowed"], "the open that had the kernel look again is not another one"


def test_a_descriptor_opened_again_is_served_though_no_name_is_looked_up(launch):
    keyfs, other = launch(), launch(key_bytes=64)
    assert os.stat(keyfs.path("new")).st_size == 32
    handle = os.open(keyfs.path("new"), os.O_PATH)
    try:
        key = other.read("new")
        with open(f"/proc/self/fd/{handle}", "rb", buffering=0) as f:
            assert f.read(4096) == key and os.fstat(f.fileno()).st_size == 64
    finally:
        os.close(handle)

"""The scanners find what is planted, in each form, and don't find what isn't there."""
import base64
import os
import secrets
import subprocess
import sys
import time

import pytest

from . import memory, page_cache
from .process import spawn, stop

# Takes a mask of the needle by stdin and unmasks it byte by byte, so that no copy is made but the one asked for.
CHILD = r"""
import ctypes, mmap, sys, base64
seed, how = bytes.fromhex(sys.stdin.buffer.readline().strip().decode()), sys.argv[1]
hold = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
def plant(at, first=0):
    for n in range(first, len(seed)): hold[at + n] = seed[n] ^ 0x55
if how == "raw": plant(4096 - 16)
if how == "half": plant(100, 16)
if how == "hex": plant(0); hold[100:164] = hold[0:32].hex().encode()
if how == "base64": plant(0); hold[100:300] = (b'{"p":"x' + base64.b64encode(b"ab" + hold[0:32]) + b'"}').ljust(200)
if how == "dontdump": hold.madvise(mmap.MADV_DONTDUMP); plant(0)
if how == "unreadable":
    plant(0)
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(hold))), 8192, 0)
print("ready", flush=True)
sys.stdin.readline()
"""


class Planted:
    def __init__(self, how):
        self.needle = secrets.token_bytes(32)
        self.process = spawn([sys.executable, "-Ic", CHILD, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(bytes(b ^ 0x55 for b in self.needle).hex().encode() + b"\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        stop(self.process)


@pytest.mark.parametrize("how, form", [("raw", "raw"), ("hex", "hex"), ("base64", "base64+2"), ("half", "second half"), ("dontdump", "raw"), ("unreadable", "raw")])
def test_a_planted_needle_is_found_in_each_form(how, form):
    with Planted(how) as planted:
        hits = memory.scan_process(planted.pid, {"key": planted.needle, "other": secrets.token_bytes(32)})
        assert form in {h.form for h in hits} and {h.needle for h in hits} == {"key"}, hits
        assert planted.process.poll() is None


def test_no_needle_no_hit():
    with Planted("nothing") as planted:
        started = time.monotonic()
        assert memory.scan_process(planted.pid, {"other": secrets.token_bytes(32)}) == []
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("size", [16, 31, 32, 33])
def test_base64_is_found_at_every_alignment(tmp_path, shift, size):
    needle = secrets.token_bytes(size)
    text = base64.b64encode(secrets.token_bytes(3 + shift) + needle + secrets.token_bytes(7))
    (tmp_path / "f").write_bytes(b"." * 4095 + text)
    assert [h.form for h in memory.scan_tree(tmp_path, {"key": needle})][0] == f"base64+{shift}"


def test_hits_across_the_borders_of_reads_are_found_once(tmp_path):
    needle = secrets.token_bytes(32)
    (tmp_path / "f").write_bytes(b"." * (memory.CHUNK - 5) + needle + b"." * 100)
    assert [h.offset for h in memory.scan_file(tmp_path / "f", {"key": needle}) if h.form == "raw"] == [memory.CHUNK - 5]


def test_core_dumps_hold_what_may_be_dumped(tmp_path):
    for how, expected in (("raw", True), ("dontdump", False)):
        with Planted(how) as planted:
            assert bool(memory.scan_file(memory.gcore(planted.pid, tmp_path), {"key": planted.needle})) == expected
            core = memory.kernel_core(planted.pid, tmp_path, planted.process.wait)
            assert core and bool(memory.scan_file(core, {"key": planted.needle})) == expected


def cached_file(folder, needle):
    path = os.path.join(folder, "planted")
    with open(path, "wb") as f:
        f.write(b"." * 5000 + needle + b"." * 5000)
        f.flush()
        os.fsync(f.fileno())
    return path


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def test_the_watch_tells_which_pages_stay_though_the_file_is_closed(tmp_path):
    with page_cache.PageCacheWatch(os.stat(tmp_path).st_dev) as watch:
        path = cached_file(tmp_path, secrets.token_bytes(32))
        inode = os.stat(path).st_ino
        assert len([page for page in watch.left() if page[0] == inode]) == 3
        drop(path)
        assert [page for page in watch.left() if page[0] == inode] == []


def test_what_is_cached_is_counted_without_touching(tmp_path):
    path = cached_file(tmp_path, secrets.token_bytes(32))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert page_cache.cached_pages(fd) == 3
        drop(path)
        assert page_cache.cached_pages(fd) == 0
        assert page_cache.cached_pages(fd) == 0  # asking brought nothing in
        os.pread(fd, 1, 0)
        assert page_cache.cached_pages(fd) > 0
    finally:
        os.close(fd)

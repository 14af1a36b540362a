"""Revocation is bounded in every way of reading: what sendfile, splice or mmap read into the page cache ends like everything else."""
import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

import seen
from support.process import eventually

FRESH, STALE = 1, 3


def by_sendfile(fd):
    out, into = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, out)
        stack.callback(os.close, into)
        return os.read(out, 4096) if os.sendfile(into, fd, 0, 4096) else b""


def by_splice(fd):
    out, into = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, out)
        stack.callback(os.close, into)
        return os.read(out, 4096) if os.splice(fd, into, 4096, offset_src=0) else b""


WAYS = {"read": lambda fd: os.pread(fd, 4096, 0), "sendfile": by_sendfile, "splice": by_splice}


def refused_within(seconds, way, fd, why):
    """Asked for again and again, as somebody does who has it open."""
    until = time.monotonic() + seconds
    while (error := seen.error_name(way, fd)) is None:
        assert time.monotonic() < until, f"still given after {seconds} s"
        time.sleep(0.05)
    assert error == why


def test_after_disable_no_open_descriptor_gives_the_key_any_more(launch):
    keyfs = launch(fresh_for=f"{FRESH}s", serve_stale_for=f"{STALE}s")
    key = keyfs.read("orders")
    with contextlib.ExitStack() as stack:
        files = {name: os.open(keyfs.path("orders"), os.O_RDONLY) for name in (*WAYS, "never read: sendfile", "never read: splice")}
        for fd in files.values():
            stack.callback(os.close, fd)
        for name, way in WAYS.items():
            assert way(files[name]) == key
        assert keyfs.cli("disable", "orders").returncode == 0
        # Pages alone are touched: no read, no open that would start the check.
        refused_within(FRESH + 4, WAYS["sendfile"], files["sendfile"], "EKEYREVOKED")
        for name, fd in files.items():
            assert seen.error_name(WAYS[name.split(": ")[-1]], fd) == "EKEYREVOKED", name


MAPPED = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
view = mmap.mmap(fd, 32, flags=getattr(mmap, sys.argv[2]), prot=mmap.PROT_READ)
print(view[0], flush=True)
while True:
    view[0]
    os.sched_yield()
"""


def maps_shared(path):
    """Whether this kernel and this libfuse do: 6.6 and 3.17 or newer."""
    with open(path, "rb") as f:
        return seen.error_name(lambda: mmap.mmap(f.fileno(), 32, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ).close()) != "ENODEV"


@pytest.mark.parametrize("kind", ["MAP_PRIVATE", "MAP_SHARED"])
def test_after_disable_a_mapping_ends_by_SIGBUS(launch, kind):
    keyfs = launch(fresh_for=f"{FRESH}s", serve_stale_for=f"{STALE}s")
    keyfs.read("orders")
    if kind == "MAP_SHARED" and not maps_shared(keyfs.path("orders")):
        pytest.skip("no shared mappings of direct I/O here")
    child = subprocess.Popen([sys.executable, "-Ic", MAPPED, keyfs.path("orders"), kind], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline().strip().isdigit()
        assert keyfs.cli("disable", "orders").returncode == 0
        assert child.wait(FRESH + 8) == -signal.SIGBUS
    finally:
        child.kill()
        child.wait()


def test_pages_go_when_the_store_cannot_be_asked_for_too_long(launch, db):
    keyfs = launch(fresh_for=f"{FRESH}s", serve_stale_for=f"{STALE}s")
    key = keyfs.read("orders")
    fd = os.open(keyfs.path("orders"), os.O_RDONLY)
    try:
        assert by_sendfile(fd) == key
        with seen.store(db) as store:
            store.execute("ALTER TABLE records RENAME TO away")
        until = time.monotonic() + STALE + 20
        while seen.error_name(by_sendfile, fd) is None:
            assert time.monotonic() < until, "still given"
            time.sleep(0.05)
    finally:
        os.close(fd)


def test_a_key_that_stays_enabled_is_checked_no_more_than_once_in_fresh_for(launch):
    keyfs = launch(fresh_for="2s", serve_stale_for="60s")
    key = keyfs.read("orders")
    fd = os.open(keyfs.path("orders"), os.O_RDONLY)
    try:
        assert by_sendfile(fd) == key
        refreshes = lambda: seen.total(keyfs, "keyfs_refreshes_total", outcome="ok")
        before, begin = refreshes(), time.monotonic()
        eventually(lambda: refreshes() >= before + 2, 30, "it is checked though nobody reads")
        assert by_sendfile(fd) == key
        assert refreshes() - before <= (time.monotonic() - begin) / 2 + 1
    finally:
        os.close(fd)
    eventually(lambda: seen.error_name(os.stat, keyfs.path("orders")) is None)


@pytest.mark.parametrize("way", [*WAYS])
def test_a_policy_that_no_longer_permits_who_opened_it_ends_what_is_open(launch, way):
    keyfs = launch(policy={"mine-*": seen.EVERYTHING, "*": seen.EVERYTHING})
    ours, kept = keyfs.read("mine-1"), keyfs.read("other")
    mine, other, late = (os.open(keyfs.path(name), os.O_RDONLY) for name in ("mine-1", "other", "mine-1"))
    try:
        assert WAYS[way](mine) == ours and WAYS[way](other) == kept
        with open(keyfs.config_file) as f:
            text = f.read()
        with open(keyfs.config_file, "w") as f:
            f.write(text.replace("[keys mine-*]\nread = uid:0", "[keys mine-*]\nread = uid:4001", 1))
        keyfs.process.send_signal(signal.SIGHUP)
        eventually(lambda: seen.error_name(WAYS[way], mine) == "EACCES", 20, "it ends")
        assert seen.error_name(WAYS[way], late) == "EACCES", "a descriptor that was never read, too"
        assert WAYS[way](other) == kept
        with open(keyfs.config_file, "w") as f:
            f.write(text)
        keyfs.process.send_signal(signal.SIGHUP)
        eventually(lambda: seen.error_name(WAYS[way], mine) is None, 20, "permitted again")
        assert WAYS[way](mine) == ours
    finally:
        for fd in (mine, other, late):
            os.close(fd)


OTHER = 4001


def opened_by(uid, folder, name):
    """As that user opens it: a descriptor is passed on like any other."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.seteuid(uid)
    try:
        return os.open(name, os.O_RDONLY, dir_fd=directory)
    finally:
        os.seteuid(0)
        os.close(directory)


def test_no_page_appears_while_one_who_may_no_longer_read_has_it_open(launch):
    keyfs = launch(policy={"mine-*": {**seen.EVERYTHING, "read": f"uid:0, uid:{OTHER}"}, "*": seen.EVERYTHING})
    key = keyfs.read("mine-1")
    with contextlib.ExitStack() as stack:
        kept = os.open(keyfs.path("mine-1"), os.O_RDONLY)
        stack.callback(os.close, kept)
        taken = opened_by(OTHER, keyfs.mount, "mine-1")
        also = stack.enter_context(contextlib.ExitStack())
        also.callback(os.close, taken)
        assert all(way(fd) == key for way in WAYS.values() for fd in (kept, taken))
        with open(keyfs.config_file) as f:
            text = f.read()
        with open(keyfs.config_file, "w") as f:
            f.write(text.replace(f"uid:0, uid:{OTHER}", "uid:0", 1))
        keyfs.process.send_signal(signal.SIGHUP)
        eventually(lambda: seen.error_name(WAYS["read"], taken) == "EACCES", 20, "the policy is read anew")
        eventually(lambda: seen.error_name(by_splice, taken) == "EACCES", 20, "the pages have gone")
        child = subprocess.Popen([sys.executable, "-Ic", MAPPED, keyfs.path("mine-1"), "MAP_PRIVATE"], stdout=subprocess.PIPE)
        stack.callback(child.kill)
        assert child.wait(20) == -signal.SIGBUS, "a mapping of who may read gets no page"
        for name in ("sendfile", "splice"):
            assert seen.error_name(WAYS[name], kept) == "EACCES", name
            assert seen.error_name(WAYS[name], taken) == "EACCES", name
        assert WAYS["read"](kept) == key, "reading goes on for who may"
        assert seen.error_name(WAYS["read"], taken) == "EACCES"
        also.close()
        eventually(lambda: seen.error_name(by_sendfile, kept) is None, 20, "pages come again when it is closed")
        assert by_sendfile(kept) == key


@pytest.mark.parametrize("way", ["sendfile", "splice"])
def test_an_orderly_end_leaves_no_page_to_what_is_open(launch, way):
    keyfs = launch()
    key = keyfs.read("orders")
    fd = os.open(keyfs.path("orders"), os.O_RDONLY)
    try:
        assert WAYS[way](fd) == key
        keyfs.process.send_signal(signal.SIGTERM)
        keyfs.process.wait(20)
        assert seen.error_name(WAYS[way], fd) == "ENOTCONN"
    finally:
        os.close(fd)

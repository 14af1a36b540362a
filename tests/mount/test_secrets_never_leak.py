"""Searches for served keys everywhere they must not be: the daemon's memory after eviction, core dumps, the page cache, log, audit, files.
To show that the search works, it also looks where they must be, and at a keyfs built without wiping."""
import contextlib
import mmap
import os
import signal
import subprocess
import sys

import pytest

import seen
from support import memory
from support.daemon import Daemon
from support.page_cache import PageCacheWatch, cached_pages
from support.process import eventually

SECRETS = [f"secret-{n}" for n in range(6)]


def served(keyfs, ids=SECRETS):
    """Keys as an application reads them, in another process: this one only keeps them as needles."""
    return {ident: subprocess.run(["cat", keyfs.path(ident)], capture_output=True, check=True).stdout for ident in ids}


def crowd_out(keyfs, needles):
    """Reads so many other keys that none of these is cached."""
    for n in range(300):
        with open(keyfs.path(f"other-{n}"), "rb", buffering=0) as f:
            f.read()
    assert seen.status(keyfs)["cache"]["evictions"] >= 296


def unwiped_build():
    """The program that is built without wiping, beside the one that is tested."""
    found = os.environ.get("KEYFS_NOWIPE_BINARY")
    if not found:
        pytest.skip("KEYFS_NOWIPE_BINARY doesn't name a keyfs built with KEYFS_UNSAFE_NO_WIPE")
    return found


def test_no_key_is_in_memory_once_it_was_evicted(launch):
    keyfs = launch(cache_keys=4)
    needles = served(keyfs)
    crowd_out(keyfs, needles)
    assert [str(hit) for hit in memory.scan_process(keyfs.pid, needles)] == []


def test_the_same_search_finds_keys_where_wiping_is_taken_out(launch, folder):
    """Keys that were ended, as below: their places in memory aren't used again yet."""
    careful = launch(start=False, fresh_for="0s")
    keyfs = Daemon(folder, {}, name="nowipe", program=unwiped_build())
    os.rename(careful.config_file, keyfs.config_file)
    with keyfs:
        needles = served(keyfs)
        assert keyfs.cli("disable", *needles).returncode == 0
        for ident in needles:
            eventually(lambda: seen.error_name(keyfs.read, ident) == "EKEYREVOKED", 20, f"{ident} is refused")
        found = {hit.needle for hit in memory.scan_process(keyfs.pid, needles)}
    assert len(found) > len(SECRETS) // 2


def test_a_cached_key_is_in_memory_once_and_in_locked_memory(launch):
    """The control of the search, and a bound: served keys have no second copy."""
    keyfs = launch()
    needles = served(keyfs)
    hits = [hit for hit in memory.scan_process(keyfs.pid, needles) if hit.form == "raw"]
    assert {hit.needle for hit in hits} == set(needles)
    assert len(hits) == len(needles), list(map(str, hits))
    with open(f"/proc/{keyfs.pid}/smaps") as f:
        regions = _regions(f.read())
    for hit in hits:
        flags = next(flags for start, end, flags in regions if start <= hit.offset < end)
        assert {"lo", "dd", "wf"} <= flags, f"{hit} lies in memory that is not locked, or would be dumped, or handed to a child"


def test_a_keys_text_is_in_memory_only_while_it_is_handed_out(launch):
    keyfs = launch()
    needles = served(keyfs)
    for view in ("hex", "base64"):
        texts = served(keyfs, [f".keyfs/{view}/{ident}" for ident in SECRETS])
        assert all(len(text) > 40 for text in texts.values())
    hits = memory.scan_process(keyfs.pid, needles)
    assert len([hit for hit in hits if hit.form == "raw"]) == len(needles)
    assert [str(hit) for hit in hits if "half" not in hit.form and hit.form != "raw"] == []


def _regions(smaps):
    found, span = [], None
    for line in smaps.splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            span = [int(x, 16) for x in head.split("-")]
        elif head == "VmFlags:":
            found.append((*span, set(line.split()[1:])))
    return found


@pytest.mark.parametrize("command", ["disable", "delete"])
def test_no_key_is_in_memory_once_it_was_ended(launch, command):
    keyfs = launch(fresh_for="0s")
    needles = served(keyfs)
    assert keyfs.cli(command, *(["--yes"] if command == "delete" else []), *needles).returncode == 0
    for ident in needles:
        eventually(lambda: seen.error_name(keyfs.read, ident) == "EKEYREVOKED", 20, f"{ident} is refused")
    assert [str(hit) for hit in memory.scan_process(keyfs.pid, needles)] == []


def test_nor_of_a_creation_that_was_lost_or_refused(launch, masters, db):
    """Two daemons make the same keys at once: the losers' are gone, and so are those that could not be wrapped often enough."""
    one, two = launch(cache_keys=4), launch(cache_keys=4)
    readers = [subprocess.Popen(["cat", *(x.path(f"raced-{n}") for n in range(200))], stdout=subprocess.PIPE) for x in (one, two)]
    keys = [reader.communicate()[0] for reader in readers]
    assert keys[0] == keys[1] and len(keys[0]) == 200 * 32
    needles = {f"raced-{n}": keys[0][32 * n:32 * n + 32] for n in range(0, 190, 20)}
    for x in (one, two):
        crowd_out(x, needles)
        assert [str(hit) for hit in memory.scan_process(x.pid, needles)] == []


def test_core_dumps_hold_none(launch, folder):
    keyfs = launch()
    needles = served(keyfs)
    core = memory.gcore(keyfs.pid, folder)
    assert os.path.getsize(core) > 1 << 20
    assert memory.scan_file(core, {"its configuration": keyfs.config_file.encode()}), "the search reads this core"
    assert [str(hit) for hit in memory.scan_file(core, needles)] == []


@contextlib.contextmanager
def piped_cores(folder):
    """The kernel hands cores to a program, as systemd-coredump and others have it: that takes no notice of RLIMIT_CORE."""
    with open("/proc/sys/kernel/core_pattern", "r+") as pattern:
        before = pattern.read()
        pattern.seek(0)
        pattern.write(f"|/usr/bin/tee {folder}/core-of-%p")
        pattern.flush()
        try:
            yield
        finally:
            pattern.seek(0)
            pattern.write(before)


@pytest.mark.skipif("KEYFS_TEST_TREE" in os.environ, reason="the kernel starts who takes cores outside this tree")
def test_the_kernel_hands_out_no_core_of_it(launch, folder):
    keyfs = launch()
    served(keyfs)
    other = subprocess.Popen(["sleep", "1000"])
    with piped_cores(folder):
        for process in (other, keyfs.process):
            process.send_signal(signal.SIGABRT)
            process.wait(30)
        eventually(lambda: (folder / f"core-of-{other.pid}").exists(), what="the core of a program that lets itself be dumped")
    assert not (folder / f"core-of-{keyfs.pid}").exists()
    keyfs.start()  # that it ended by SIGABRT was ours


def test_masters_are_in_no_core_dump_either(launch, folder, masters):
    keyfs = launch()
    served(keyfs)
    needles = {name: path.read_bytes() for name, path in masters.items()}
    assert memory.scan_process(keyfs.pid, needles), "it has them"
    assert [str(hit) for hit in memory.scan_file(memory.gcore(keyfs.pid, folder), needles)] == []


def test_its_own_user_can_not_trace_it(launch):
    """A process of the daemon's user can neither attach nor read its memory: its files in /proc are root's, and root without capabilities is refused."""
    keyfs = launch()
    for name in ("mem", "environ", "maps"):
        done = subprocess.run(["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--reuid", "0", "cat", f"/proc/{keyfs.pid}/{name}"],
                              capture_output=True)
        assert done.returncode != 0 and b"denied" in done.stderr, (name, done.stderr)
    with open(f"/proc/{keyfs.pid}/limits") as f:
        core = next(line for line in f if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


READ = "import os, sys\nfor path in sys.argv[1:]:\n fd = os.open(path, os.O_RDONLY)\n os.read(fd, 131072)\n os.close(fd)"
MAP = ("import mmap, os, sys\nfor path in sys.argv[1:]:\n fd = os.open(path, os.O_RDONLY)\n"
       " view = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n bytes(view)\n view.close()\n os.close(fd)")
SEND = "import os, sys\nfor path in sys.argv[1:]:\n fd = os.open(path, os.O_RDONLY)\n r, w = os.pipe()\n os.sendfile(w, fd, 0, 100)\n os.close(fd)"


@pytest.mark.parametrize("how", [READ, MAP, SEND], ids=["read", "mmap", "sendfile"])
def test_nothing_stays_in_the_page_cache(launch, how):
    keyfs = launch()
    paths = [keyfs.path(ident) for ident in served(keyfs)]
    with PageCacheWatch(os.stat(keyfs.mount).st_dev) as watch:
        subprocess.run([sys.executable, "-c", how, *paths], check=True)
        if how == READ:
            assert watch.left() == []
        eventually(lambda: watch.left() == [], 10, "the pages are dropped once the files are closed")


def test_a_program_that_maps_and_is_killed_leaves_nothing(launch):
    keyfs = launch()
    with PageCacheWatch(os.stat(keyfs.mount).st_dev) as watch:
        program = ("import mmap, os, sys, time\nf = open(sys.argv[1], 'rb')\nview = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n"
                   "bytes(view)\nprint('mapped', flush=True)\ntime.sleep(1000)")
        process = subprocess.Popen([sys.executable, "-c", program, keyfs.path("secret-1")], stdout=subprocess.PIPE)
        with process:
            assert process.stdout.readline() == b"mapped\n"
            assert watch.left() != []
            process.kill()
        eventually(lambda: watch.left() == [], 10, "the page is dropped")


def test_a_key_that_ended_goes_from_the_page_cache_while_it_is_open(launch):
    keyfs = launch(fresh_for="0s")
    with open(keyfs.path("secret-1"), "rb") as f:
        with mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
            assert len(bytes(view)) == 32
        assert cached_pages(f.fileno()) <= 1
        assert keyfs.cli("disable", "secret-1").returncode == 0
        eventually(lambda: seen.error_name(keyfs.read, "secret-1") == "EKEYREVOKED", 20, "it is refused")
        eventually(lambda: cached_pages(f.fileno()) == 0, 10, "its page is dropped")


def test_a_key_that_ended_goes_from_under_those_who_have_it_mapped(launch):
    """Nobody opens or reads it again: that it is known to be disabled is enough. The kernel then asks anew for the page, in vain."""
    keyfs = launch(fresh_for="0s")
    fd = os.open(keyfs.path("secret-1"), os.O_RDONLY)
    program = (f"import mmap, sys\nview = mmap.mmap({fd}, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\nassert len(bytes(view)) == 32\n"
               "print('mapped', flush=True)\nsys.stdin.readline()\nbytes(view)")
    try:
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd]) as process:
            assert process.stdout.readline() == b"mapped\n"
            assert cached_pages(fd) == 1
            assert keyfs.cli("disable", "secret-1").returncode == 0
            os.getxattr(keyfs.path("secret-1"), "user.keyfs.state")  # has it checked with the store
            eventually(lambda: cached_pages(fd) == 0, 10, "its page is dropped")
            process.stdin.write(b"go on\n")
            process.stdin.flush()
            assert process.wait(20) == -signal.SIGBUS
    finally:
        os.close(fd)


def scan_files(folder, keyfs, needles):
    paths = [path for path in folder.iterdir() if str(path) != keyfs.mount]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return [hit for file in files for hit in memory.scan_file(file, needles, may_go=True)]


def test_no_file_that_it_writes_holds_a_key(launch, folder, masters):
    """SQLite file and WAL, replica, node ids, log at its most talkative, audit."""
    keyfs = launch(log_level="debug", cache_keys=4, fresh_for="0s")
    needles = served(keyfs)
    for ident in needles:
        keyfs.read(ident)
    keyfs.cli("describe", *needles)
    keyfs.cli("disable", SECRETS[0])
    seen.error_name(keyfs.read, SECRETS[0])
    for name in (".keyfs/status", ".keyfs/metrics", ".keyfs/rotation"):
        (folder / os.path.basename(name)).write_bytes(keyfs.read(name))
    assert scan_files(folder, keyfs, {"a region's name": b"local-a.key"}), "the search reads these files"
    keep = {name: path.read_bytes() for name, path in masters.items()}
    for _ in ("while it runs", "once it has ended"):
        hits = [hit for hit in scan_files(folder, keyfs, {**needles, **keep}) if not (hit.where.endswith(".key") and hit.needle in keep)]
        assert list(map(str, hits)) == []
        if keyfs.alive():
            keyfs.terminate(signal.SIGTERM)

"""Regions that never answer: programs that wait for them can be killed, and nobody else notices."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import seen
from hung_disk import HungDisk
from seen import within
from support.daemon import binary, mounted
from support.process import eventually, spawn, stop

READERS = 200
NAMES = ("local-a", "local-b", "local-c")
# "as if nothing were wrong" on a machine that runs other tests as well
PROMPTLY = 2.0
# A daemon that has unmounted gives its hanging parts three seconds.
END = 3 + PROMPTLY


class Hung:
    """A daemon whose regions have stopped to answer, and what it had read before."""

    def __init__(self, keyfs, warm, cold, answer):
        self.keyfs, self.warm, self.cold, self.answer = keyfs, warm, cold, answer


@pytest.fixture
def disk(folder):
    with HungDisk(folder, NAMES) as disk:
        yield disk


@pytest.fixture
def hung(launch, disk):
    """All three masters lie on a disk that hangs."""
    sections = {f"region {name}": {"type": "local", "key_file": disk.key_file(name)} for name in NAMES}
    maker = launch(sections=sections)
    cold = {f"cold-{n}": maker.read(f"cold-{n}") for n in range(20)}
    maker.terminate()
    keyfs = launch(sections=sections, open_deadline="60s")
    warm = {f"warm-{n}": keyfs.read(f"warm-{n}") for n in range(5)}
    disk.hang()
    yield Hung(keyfs, warm, cold, disk.answer)
    disk.answer()


@contextlib.contextmanager
def readers(hung, count=READERS):
    """cat processes, half of keys that exist and half of new ones, all of which wait."""
    ids = [f"cold-{n % 20}" if n % 2 else f"new-{n}" for n in range(count)]
    processes = [spawn(["cat", hung.keyfs.path(ident)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for ident in ids]
    try:
        seen.await_hanging(processes, 60)
        yield processes
    finally:
        for process in processes:
            stop(process)
            process.stderr.close()


def test_all_else_goes_on(hung):
    with readers(hung) as hanging:
        mount = hung.keyfs.mount
        eventually(lambda: seen.status(hung.keyfs)["keyring"]["waiting_opens"] == READERS, what="all wait")
        for _ in range(3):
            with within(PROMPTLY, "ls"):
                assert set(os.listdir(mount)) - {".keyfs"} == {*hung.cold, *hung.warm}
            with within(PROMPTLY, "ls -la"):
                assert subprocess.run(["ls", "-la", mount], capture_output=True).returncode == 0
            with within(PROMPTLY, "stat of a warm key, of one that is waited for, of one that isn't there"):
                for ident in ("warm-1", "cold-1", "new-0", "elsewhere"):
                    assert os.stat(hung.keyfs.path(ident)).st_size == 32
            with within(PROMPTLY, "df"):
                assert subprocess.run(["df", mount], capture_output=True).returncode == 0
            with within(PROMPTLY, "warm reads"):
                for _ in range(20):
                    assert {ident: hung.keyfs.read(ident) for ident in hung.warm} == hung.warm
            with within(PROMPTLY, "a refusal"):
                assert seen.error_name(os.open, hung.keyfs.path("warm-1"), os.O_WRONLY) == "EROFS"
        assert all(process.poll() is None for process in hanging), "they wait on"


def test_each_dies_within_a_second_of_sigkill(hung):
    with readers(hung) as hanging:
        for process in hanging[:20]:
            with within(1, "the death of one"):
                process.kill()
                process.wait(30)
        with within(1 + PROMPTLY, "the death of all the others"):
            for process in hanging[20:]:
                process.kill()
            with within(1 + PROMPTLY, "their end"):
                for process in hanging[20:]:
                    process.wait(30)
        eventually(lambda: seen.status(hung.keyfs)["keyring"]["waiting_opens"] == 0, 10, "nobody waits any more")
        assert {ident: hung.keyfs.read(ident) for ident in hung.warm} == hung.warm


def test_who_was_killed_has_a_line_in_the_audit(hung):
    with readers(hung, 4) as hanging:
        for process in hanging:
            process.kill()
            process.wait(30)
    eventually(lambda: {p.pid for p in hanging} == {line["pid"] for line in hung.keyfs.audit() if line["errno"] == "EINTR"}, what="their lines")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_what_a_terminal_sends_ends_it_at_once(hung, how):
    with readers(hung, 4) as hanging:
        for process in hanging:
            process.send_signal(how)
            with within(1, f"the end by {how.name}"):
                assert process.wait(30) == -how


def test_a_program_with_a_handler_for_ctrl_c_gets_its_turn(hung):
    """Python turns SIGINT into an exception: its open(2) must come back for that."""
    program = "import sys\ntry:\n    open(sys.argv[1])\nexcept KeyboardInterrupt:\n    sys.exit(42)"
    process = spawn([sys.executable, "-c", program, hung.keyfs.path("cold-1")])
    try:
        seen.await_hanging([process])
        process.send_signal(signal.SIGINT)
        with within(1, "its handler's turn"):
            assert process.wait(30) == 42
    finally:
        stop(process)


def test_killed_in_every_thread(hung):
    """A program whose threads all wait in keyfs: SIGKILL ends all of them."""
    program = ("import sys, threading\nfor n in range(8): threading.Thread(target=lambda n=n: open(f'{sys.argv[1]}/cold-{n}')).start()\n"
               "print('begun', flush=True)")
    process = spawn([sys.executable, "-c", program, hung.keyfs.mount], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        tasks = f"/proc/{process.pid}/task"
        eventually(lambda: sum(_waits(f"{tasks}/{tid}") for tid in os.listdir(tasks)) == 8, what="eight threads wait")
        process.kill()
        with within(1, "the end of all threads"):
            process.wait(30)
    finally:
        stop(process)


def _waits(task):
    with open(f"{task}/wchan") as f:
        return "request_wait_answer" in f.read()


# As Go's runtime: a handler with SA_RESTART for SIGURG, which is sent over and over; open(2) bare, without the retries that Python puts round it.
STORMED = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGURG, lambda *_: None)
signal.siginterrupt(signal.SIGURG, False)
print("ready", flush=True)
fd = libc.open(sys.argv[1].encode(), os.O_RDONLY)
error = ctypes.get_errno()
sys.stdout.buffer.write(b"%d %d " % (fd >= 0, error) + (os.read(fd, 100) if fd >= 0 else b""))
"""


def test_sigurg_as_go_sends_it_does_not_disturb(hung):
    process = spawn([sys.executable, "-c", STORMED, hung.keyfs.path("cold-3")], stdout=subprocess.PIPE)
    stormed = threading.Event()

    def storm():
        for n in range(100000):
            if process.poll() is not None:
                return
            process.send_signal(signal.SIGURG)
            if n == 50:
                stormed.set()
            time.sleep(0.01)

    thread = threading.Thread(target=storm)
    try:
        assert process.stdout.readline() == b"ready\n"
        seen.await_hanging([process])
        thread.start()
        assert stormed.wait(30)
        hung.answer()
        opened, error, key = process.stdout.read().split(b" ", 2)
        assert (opened, error, key) == (b"1", b"0", hung.cold["cold-3"])
    finally:
        stop(process)
        thread.join()


def test_once_it_answers_again_all_who_waited_are_served(hung):
    with readers(hung) as hanging:
        hung.answer()
        outputs = [process.communicate(timeout=60) for process in hanging]
    assert {error for _, error in outputs} == {b""}, hung.keyfs.log()[-2000:]
    served = [key for key, _ in outputs]
    assert {len(key) for key in served} == {32}
    assert all(key == hung.cold[f"cold-{n % 20}"] for n, key in enumerate(served) if n % 2)
    news = [key for n, key in enumerate(served) if not n % 2]
    assert len(set(news)) == len(news)
    assert all(hung.keyfs.read(f"new-{2 * n}") == key for n, key in enumerate(news))


def test_the_deadline_ends_what_nobody_kills(launch, disk, db):
    sections = {f"region {name}": {"type": "local", "key_file": disk.key_file(name)} for name in NAMES}
    launch(sections=sections).read("cold")
    keyfs = launch(sections=sections, open_deadline="1s")
    disk.hang()
    for ident in ("cold", "new"):
        with within(3, "an open with a deadline of 1 s"):
            assert seen.error_name(keyfs.read, ident) == "ETIMEDOUT"
    assert seen.texts(db).keys() == {"cold"}
    eventually(lambda: [line["errno"] for line in keyfs.audit()[-2:]] == ["ETIMEDOUT"] * 2, what="both are audited")
    disk.answer()
    eventually(lambda: seen.error_name(keyfs.read, "cold") is None, 40, "the regions are tried again")


def test_one_of_three_that_hangs_is_gone_round(launch, disk, masters):
    """Existing keys read and new ones are made while one region's disk hangs."""
    sections = {"region local-a": {"type": "local", "key_file": disk.key_file("local-a")}}
    maker = launch(sections=sections)
    keys = {f"key-{n}": maker.read(f"key-{n}") for n in range(10)}
    maker.terminate()
    keyfs = launch(sections=sections)
    disk.hang()
    with within(9, "reading ten cold keys round a region that hangs"):
        assert {ident: keyfs.read(ident) for ident in keys} == keys
    assert len(keyfs.read("new")) == 32


@pytest.mark.parametrize("command, code", [(["check"], 1), (["create", "new"], 1)], ids=["check", "create"])
def test_a_command_on_a_disk_that_hangs_tells_so_and_ends(launch, disk, command, code):
    """Its deadline is 1 s; it prints its result and does not wait for the hanging thread."""
    sections = {f"region {name}": {"type": "local", "key_file": disk.key_file(name)} for name in NAMES}
    keyfs = launch(sections=sections, open_deadline="1s")
    keyfs.terminate()
    disk.hang()
    with within(1 + 2 + PROMPTLY + PROMPTLY, "the command"):
        done = subprocess.run([binary(), command[0], "-c", keyfs.config_file, *command[1:]], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done
    told = done.stdout + done.stderr
    assert "local-a" in told and ("FAIL" in told or "new" in told), told


COMMANDS = [["list"], ["describe", "key"], ["create", "key"], ["check"], ["check", "--accept-store"], ["delete", "--yes", "key"]]


@pytest.mark.parametrize("where", ["store", "state_dir", "configuration"])
def test_each_command_whose_files_lie_on_a_disk_that_hangs_says_which_and_ends(launch, folder, where):
    """Each on a host and a disk of its own, and all at once, since they only wait."""
    with contextlib.ExitStack() as stack:
        hosts = []
        for n, command in enumerate(COMMANDS):
            disk = stack.enter_context(HungDisk(folder / f"disk-{n}", NAMES))
            elsewhere = os.path.join(disk.folder, "sub", "file")
            keyfs = launch(start=False, name=f"host{n}", sections={"store": {"type": "sqlite", "path": elsewhere}} if where == "store" else None,
                           open_deadline="1s", **({"state_dir": elsewhere} if where == "state_dir" else {}))
            config = os.path.join(disk.folder, "sub", "keyfs.ini") if where == "configuration" else keyfs.config_file
            disk.hang()
            hosts.append((disk, [binary(), command[0], "-c", config, *command[1:]]))
        bound = 10 if where == "configuration" else 1
        with within(bound + 2 + PROMPTLY + PROMPTLY, "the slowest of the commands"):
            begun = []
            for disk, argv in hosts:
                process = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                stack.callback(stop, process)
                begun.append((disk, argv, process))
            ended = [(disk, argv, process.communicate(timeout=30)[1], process.returncode) for disk, argv, process in begun]
        for disk, argv, told, code in ended:
            assert code == 1, (argv, code, told)
            assert disk.folder in told and told.count("\n") == 1 and "does not answer" in told, (argv, told)


def test_a_reload_that_hangs_is_told_and_the_next_one_is_not_lost(launch, disk):
    keyfs = launch(open_deadline="5s")
    key = keyfs.read("key")
    good = keyfs.config_file + ".good"
    os.rename(keyfs.config_file, good)
    os.symlink(disk.key_file("local-a"), keyfs.config_file)
    disk.hang()
    keyfs.process.send_signal(signal.SIGHUP)
    told = eventually(lambda: [line for line in keyfs.log().splitlines() if "a reload hangs; the configuration in force stays" in line], 20, "it is told")
    assert keyfs.config_file in told[0] and "seconds=5" in told[0]
    assert keyfs.read("key") == key
    os.replace(good, keyfs.config_file)
    keyfs.process.send_signal(signal.SIGHUP)
    assert "configuration reloaded" not in keyfs.log()
    disk.answer()
    eventually(lambda: "configuration reloaded" in keyfs.log(), 20, "the second one")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_told_to_end_while_200_wait_unmounts_and_ends(hung, how):
    """Although one of its threads is in a read of a master's disk, which no signal interrupts."""
    with readers(hung) as hanging:
        with within(END, "the end"):
            assert hung.keyfs.terminate(how) == 0
        assert mounted(hung.keyfs.mount) is None and os.listdir(hung.keyfs.mount) == []
        for process in hanging:
            assert process.wait(10) == 1
            assert process.stdout.read() == b""
            assert b"Transport endpoint is not connected" in process.stderr.read(), "the mount's end, not that there is no such key"
    told = [line for line in hung.keyfs.audit() if line["pid"] in {p.pid for p in hanging}]
    assert sum(line["count"] for line in told) == READERS, "refusals of one id are summed up after the first few"
    assert {line["errno"] for line in told} == {"ENOTCONN"}
    hung.answer()
    hung.keyfs.start()
    assert {ident: hung.keyfs.read(ident) for ident in hung.cold} == hung.cold


def test_a_daemon_killed_while_200_wait_frees_them(hung):
    with readers(hung) as hanging:
        hung.keyfs.kill()
        with within(PROMPTLY, "errors for all"):
            for process in hanging:
                assert process.wait(10) == 1
    hung.answer()
    hung.keyfs.start()
    assert {ident: hung.keyfs.read(ident) for ident in hung.cold} == hung.cold

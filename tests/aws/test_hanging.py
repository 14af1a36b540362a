"""200 opens wait for AWS regions that never answer, with packets silently lost: waiting programs can be killed, and nobody else notices."""
import contextlib
import os
import subprocess

import pytest

from mount import seen
from mount.seen import within
from support.process import eventually, spawn, stop

READERS = 200
# "as if nothing were wrong" on a machine that runs other tests as well
PROMPTLY = 2.0
WARM = [f"warm-{n}" for n in range(5)]
COLD = [f"cold-{n}" for n in range(20)]


class Hung:
    """A daemon whose regions have stopped to answer, and what it had read before."""

    def __init__(self, keyfs, warm, cold):
        self.keyfs, self.warm, self.cold = keyfs, warm, cold


def hang(aws, what, how):
    for region in aws.regions:
        for proxy in {"kms": (region.kms,), "dynamodb": (region.dynamodb,), "both": (region.kms, region.dynamodb)}[what]:
            if how == "blackhole":
                proxy.drop()  # no connection is left, and new ones are not answered
            proxy.link(how)


@pytest.fixture
def hung(launch, aws):
    """hung("kms" | "dynamodb" | "both", "hang" | "blackhole") -> Hung"""
    def start(what, how="hang"):
        maker = launch(name="maker")
        cold = {ident: maker.read(ident) for ident in COLD}
        keyfs = launch(name="keyfs", open_deadline="60s")
        warm = {ident: keyfs.read(ident) for ident in WARM}
        hang(aws, what, how)
        return Hung(keyfs, warm, cold)

    return start


@contextlib.contextmanager
def readers(hung, count=READERS):
    """cat processes, half of keys that exist and half of new ones."""
    ids = [f"cold-{n % 20}" if n % 2 else f"new-{n}" for n in range(count)]
    processes = [spawn(["cat", hung.keyfs.path(ident)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for ident in ids]
    try:
        yield processes
    finally:
        for process in processes:
            stop(process)


def all_else_goes_on(hung, listings=True):
    mount = hung.keyfs.mount
    for _ in range(3):
        if listings:
            with within(PROMPTLY, "ls"):
                assert {*hung.cold, *hung.warm} <= set(os.listdir(mount))
            with within(PROMPTLY, "ls -la"):
                assert subprocess.run(["ls", "-la", mount], capture_output=True).returncode == 0
        with within(PROMPTLY, "stat of a warm key, of one that is waited for, of one that isn't there"):
            assert os.stat(hung.keyfs.path("warm-1")).st_size == 32
            for ident in ("cold-1", "new-0", "elsewhere"):
                # No smaller than any key where the store, which alone knows, doesn't answer.
                assert os.stat(hung.keyfs.path(ident)).st_size in ((32,) if listings else (32, 4096))
        with within(PROMPTLY, "warm reads"):
            for _ in range(20):
                assert {ident: hung.keyfs.read(ident) for ident in hung.warm} == hung.warm


def all_die(processes):
    with within(1, "the death of one"):
        processes[0].kill()
        processes[0].wait(30)
    with within(1 + PROMPTLY, "the death of all"):
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(30)


@pytest.mark.parametrize("what", ["kms", "dynamodb"])
def test_all_else_goes_on_and_each_dies_at_once(hung, what):
    hung = hung(what)
    with readers(hung) as hanging:
        seen.await_hanging(hanging, 60)
        eventually(lambda: seen.status(hung.keyfs)["keyring"]["waiting_opens"] == READERS, 20, "all of them wait")
        all_else_goes_on(hung, listings=what == "kms")  # a listing asks the store
        assert all(process.poll() is None for process in hanging), "they wait on"
        all_die(hanging)
        eventually(lambda: seen.status(hung.keyfs)["keyring"]["waiting_opens"] == 0, 10, "nobody waits any more")
    all_else_goes_on(hung, listings=what == "kms")


def test_the_same_when_no_connection_is_answered(hung):
    """After that nobody waits for long: unreachable regions are skipped after some attempts, and callers without another region get an error."""
    hung = hung("kms", "blackhole")
    with readers(hung) as asking:
        eventually(lambda: all(p.poll() is not None or seen.in_fuse(p.pid) for p in asking), 60, "all of them have asked")
        all_else_goes_on(hung)
        all_die(asking)
        assert {p.returncode for p in asking} <= {-9, 1} and not any(p.stdout.read() for p in asking)
        eventually(lambda: seen.status(hung.keyfs)["keyring"]["waiting_opens"] == 0, 10, "nobody waits any more")


def test_a_listing_that_waits_for_the_store_can_be_killed_and_holds_up_nobody(hung):
    hung = hung("dynamodb")
    process = spawn(["ls", hung.keyfs.mount], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        seen.await_hanging([process])
        all_else_goes_on(hung, listings=False)
        with within(1, "the death of an ls"):
            process.kill()
            process.wait(30)
    finally:
        stop(process)


def test_once_they_answer_again_all_who_waited_are_served(hung, aws):
    hung = hung("both")
    with readers(hung, 20) as hanging:  # few enough for the store's budget of retries
        seen.await_hanging(hanging)
        aws.heal()
        served = [process.communicate(timeout=60)[0] for process in hanging]
    assert {len(key) for key in served} == {32}
    assert all(key == hung.cold[f"cold-{n % 20}"] for n, key in enumerate(served) if n % 2)
    news = [key for n, key in enumerate(served) if not n % 2]
    assert len(set(news)) == len(news)
    assert all(hung.keyfs.read(f"new-{2 * n}") == key for n, key in enumerate(news))


def test_a_daemon_ends_in_time_while_its_regions_hang(hung):
    hung = hung("both")
    with readers(hung, 20) as hanging:
        seen.await_hanging(hanging)
        with within(5 + PROMPTLY, "its end"):
            assert hung.keyfs.terminate() == 0
        with within(PROMPTLY, "errors for all who waited"):
            for process in hanging:
                assert process.wait(10) == 1

"""Who created a key, and that this is in the audit before the key can exist."""
import contextlib
import json
import signal
import subprocess
import threading

import pytest

import seen
from support.process import eventually

POLICY = {"*": seen.EVERYTHING}
CREATOR, FOLLOWER = 4001, 4002


def events(keyfs, event):
    return [line for line in keyfs.audit() if line["event"] == event]


@contextlib.contextmanager
def held(db):
    """No record gets into the store meanwhile."""
    with seen.store(db) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture(params=[False, True], ids=["", "required"])
def keyfs(request, launch):
    return launch(policy=POLICY, audit_required=request.param)


def test_a_creation_is_told_before_its_record_is_saved(keyfs, db):
    keyfs.read("first")
    with held(db):
        cats = [subprocess.Popen(["cat", keyfs.path(f"key-{n}")], stdout=subprocess.DEVNULL) for n in range(2)]
        eventually(lambda: {line["id"] for line in events(keyfs, "creating")} == {"first", *(f"key-{n}" for n in range(2))}, what="their lines")
        for line in events(keyfs, "creating")[1:]:
            assert line["pid"] in [cat.pid for cat in cats] and line["created"] is False and line["verdict"] is None
    for cat in cats:
        assert cat.wait() == 0
    eventually(lambda: sum(line["created"] for line in events(keyfs, "open")) == 3, what="the opens' lines")
    assert len(events(keyfs, "creating")) == 3


def test_no_key_is_without_a_line_when_keyfs_is_killed(keyfs, db):
    for attempt in range(4):
        before = set(seen.records(db))
        stop = threading.Event()

        def create(worker):
            n = 0
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    keyfs.read(f"key-{attempt}-{worker}-{n}")
                    n += 1

        workers = [threading.Thread(target=create, args=(worker,)) for worker in range(8)]
        for worker in workers:
            worker.start()
        eventually(lambda: len(seen.records(db)) >= len(before) + 10, what="keys")
        keyfs.process.send_signal(signal.SIGKILL)
        stop.set()
        for worker in workers:
            worker.join()
        keyfs.process.wait()
        keyfs.start()
        with open(keyfs.audit_file) as f:
            told = {json.loads(line)["id"] for line in f if line.endswith("}\n")}
        assert set(seen.records(db)) <= told


def test_one_of_many_openers_has_created_the_key(keyfs, db):
    with held(db):
        cats = [subprocess.Popen(["cat", keyfs.path("orders")], stdout=subprocess.PIPE) for _ in range(100)]
        eventually(lambda: seen.status(keyfs)["keyring"]["waiting_opens"] == 100, 30, "all wait")
    assert len({cat.communicate()[0] for cat in cats}) == 1
    eventually(lambda: len(events(keyfs, "open")) == 100, what="their lines")
    made = [line for line in keyfs.audit() if line["created"]]
    assert len(made) == 1 and made[0]["event"] == "open"
    assert [line["pid"] for line in events(keyfs, "creating")] == [made[0]["pid"]]


def test_who_waited_for_a_key_of_a_killed_creator_has_not_created_it(launch, db):
    keyfs = launch(policy={"*": {"read": f"uid:{CREATOR}, uid:{FOLLOWER}, uid:0", "create": f"uid:{CREATOR}", "admin": "uid:0"}})

    def cat(uid, stdout):
        return subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "cat", keyfs.path("orders")], stdout=stdout)

    with held(db):
        creator = cat(CREATOR, subprocess.DEVNULL)
        eventually(lambda: events(keyfs, "creating"), what="the creation has begun")
        follower = cat(FOLLOWER, subprocess.PIPE)
        eventually(lambda: seen.status(keyfs)["keyring"]["waiting_opens"] == 2, what="both wait")
        creator.kill()
        creator.wait()
        eventually(lambda: seen.status(keyfs)["keyring"]["waiting_opens"] == 1, what="one waits")
    assert len(follower.communicate()[0]) == 32
    eventually(lambda: len(keyfs.audit()) == 4, what="all lines")
    told = {(line["event"], line["uid"]): line["created"] for line in keyfs.audit()}
    assert told == {("creating", CREATOR): False, ("open", CREATOR): False, ("created", CREATOR): True, ("open", FOLLOWER): False}

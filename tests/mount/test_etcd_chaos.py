"""Ten daemons on an etcd cluster whose members fail at random: the history of what was read, made and disabled must be sound."""
import itertools
import os
import random
import threading
import time

import pytest

from support import daemon as d
from support.availability import Availability, answered_for
from support.chaos import Chaos, Way, member_ways
from support.history import assert_sound
from support.process import eventually
from support.swarm import Swarm, read_all

SECONDS = int(os.environ.get("KEYFS_TEST_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("KEYFS_TEST_CHAOS_SEED", "7"))
# keyfs.ini(5): after a member failed a change is heard of within three seconds, counted while the cluster answers.
BOUND = 3.0
DEADLINE = 10.0  # open_deadline's default


class Background:
    """A thread that works until the end of the with; what it raised is raised there."""

    def __init__(self, *works):
        self._stop, self._failed = threading.Event(), []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]

    def _run(self, work):
        try:
            work(self._stop)
        except BaseException as e:
            self._failed.append(e)

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]


def two_lost(etcd, rng, seconds):
    """Two of three members are gone for so long, in two of three ways, and come back."""
    first, second = rng.sample(etcd.members, 2)
    for member in (first, second):
        rng.choice([member.kill, member.pause, member.cut_peers])()
    time.sleep(seconds)
    etcd.heal()


@pytest.fixture
def daemons(etcd, make_daemon, folder):
    """Half of them talk to the members' own TLS, the other half through proxies that can lose single replies."""
    made = []
    for n in range(10):
        sections = d.local_sections(folder / "parts")
        sections["store"] = {**d.etcd_store(etcd, http=n % 2 == 1)["store"], "prefix": "/keyfs/chaos"}
        made.append(make_daemon(sections, name=f"host{n}"))
    for x in made:
        x.start()
    return made


def test_the_history_of_ten_daemons_is_sound_while_members_fail(etcd, daemons, folder):
    ids = [f"key-{n:03}" for n in range(100)]
    rng = random.Random(SEED)
    also = [Way("compact", lambda m: etcd.compact(), lambda m: None), Way("defrag", lambda m: m.defrag(), lambda m: None)]
    chaos = Chaos(etcd.members, member_ways(wipe=True) + also, at_most=1, seed=SEED)
    disabled, made = set(), []
    with Availability(etcd) as health, Swarm(folder, {x.name: x.mount for x in daemons}, ids) as swarm:
        admin, maker = swarm.recorder("admin"), swarm.recorder("maker")

        def administer(stop):
            for number in itertools.count():
                ident = ids[(7 * number) % len(ids)]
                if stop.wait(1) or ident in disabled:
                    return
                start = time.monotonic()
                done = daemons[number % len(daemons)].cli("disable", ident)
                disabled.add(ident)  # perhaps, when it failed
                admin.changed("disable", ident, start, done.returncode == 0)

        def create(stop):
            for number in itertools.count():
                if stop.wait(0.2):
                    return
                ident = f"new-{number:04}"
                made.append(ident)
                # Another host reads what this one has just made; sometimes both make it.
                one, other = random.Random(number).sample(daemons, 2)
                racing = threading.Thread(target=swarm.recorder(f"racer-{number}").read, args=(other.mount, ident))
                racing.start()
                maker.read(one.mount, ident)
                racing.join()

        with Background(administer, create):
            for _ in range(2):
                chaos.run(SECONDS / 2 - 4)
                two_lost(etcd, rng, 4)
                maker.read(daemons[0].mount, f"after-{len(made)}")
    etcd.heal()

    outages, records = health.outages(), swarm.records()
    context = {"chaos": chaos.done, "outages": outages}
    alive = [ident for ident in ids if ident not in disabled]
    served = {r["id"] for r in records if r["kind"] == "read"}
    final = {}
    eventually(lambda: final.update(read_all(daemons[0].mount, [*alive, *sorted(served - set(ids))], swarm.salt)) or True, 30, "all keys read in the end")
    for x in daemons[1:]:
        assert read_all(x.mount, final, swarm.salt) == final, x.name

    # A key that is there is always read. Making one may fail when the cluster did not answer, and then within the deadline.
    for r in (r for r in records if r["kind"] == "fail" and r["errno"] != "EKEYREVOKED"):
        assert r["id"] not in ids, (r, context)
        assert r["errno"] in ("ETIMEDOUT", "EIO") and answered_for(outages, r["start"], r["end"]) < BOUND, (r, context)
        assert r["end"] - r["start"] < DEADLINE + 2, (r, context)
    changes = [r for r in records if r["kind"] == "disable"]
    assert sum(r["ok"] for r in changes) >= SECONDS / 6, (changes, context)
    assert len(served - set(ids)) >= SECONDS / 2, context
    assert sum(b - a for a, b in outages) < SECONDS / 2, context
    assert_sound(records, disable_bound=BOUND, final=final, outages=outages)

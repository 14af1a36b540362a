"""Several daemons on one SQLite file and one set of masters: one key per id, on every daemon, always."""
import os

from support.history import assert_sound
from support.process import eventually
from support.swarm import Swarm, read_all

import seen

IDS = [f"key-{n:03}" for n in range(200)]


def test_eight_daemons_and_200_ids_read_by_all_at_once(launch, folder, db):
    daemons = [launch() for _ in range(8)]
    with Swarm(folder, {x.name: x.mount for x in daemons}, IDS) as swarm:
        swarm.await_reads(2 * len(IDS), timeout=100)
    history = swarm.records()
    final = read_all(daemons[0].mount, IDS, swarm.salt)
    assert_sound(history, final=final, key_bytes=32)
    assert all(read_all(daemon.mount, IDS, swarm.salt) == final for daemon in daemons[1:])
    # No read failed, and the daemons did race: somebody lost, and served the winner's key.
    assert not [x for x in history if x["kind"] == "fail"]
    assert sum(seen.total(x, "keyfs_created_total") for x in daemons) == len(IDS)
    assert sum(seen.total(x, "keyfs_lost_races_total") for x in daemons) > 0
    assert seen.texts(db).keys() == set(IDS)


def test_all_of_them_give_the_same_after_all_were_started_anew(launch, folder):
    daemons = [launch() for _ in range(3)]
    salt = os.urandom(16)
    before = read_all(daemons[0].mount, IDS[:50], salt)
    for daemon in daemons:
        daemon.restart()
    assert all(read_all(daemon.mount, IDS[:50], salt) == before for daemon in daemons)


def test_daemons_killed_while_they_create_leave_nothing_half(launch, folder, db):
    """kill -9 during creations: what another daemon served stays, and whatever the killed one left gives one key."""
    steady, killed = launch(), launch()
    with Swarm(folder, {x.name: x.mount for x in (steady, killed)}, IDS, readers=2) as swarm:
        for n in range(3):
            eventually(lambda: len(seen.texts(db)) > 40 * (n + 1), what="keys are being made")
            killed.kill()
            killed.start()
        swarm.await_reads(len(IDS), timeout=100)
    final = read_all(killed.mount, IDS, swarm.salt)
    assert_sound(swarm.records(), key_bytes=32, final=final)
    assert read_all(steady.mount, IDS, swarm.salt) == final

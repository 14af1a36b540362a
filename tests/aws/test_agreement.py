"""Twenty daemons make and read the same keys at once while regions fail and replies to committed writes are lost: one plaintext for each id,
in every daemon, forever."""
import collections
import os
import threading

import pytest

import cloud
from support.chaos import Chaos, region_ways
from support.history import assert_sound
from support.process import eventually
from support.swarm import Swarm, read_all

SECONDS = int(os.environ.get("KEYFS_TEST_CHAOS_SECONDS", "30"))
DAEMONS, IDS = 20, 50


def all_at_once(work, things):
    threads = [threading.Thread(target=work, args=(x,)) for x in things]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def settled(daemons, ids, salt):
    """What every daemon reads once all is well, each asked until it answers."""
    final = {}
    for x in daemons:
        found = {}
        eventually(lambda: found.update(_read(x, ids, salt)) or len(found) == len(ids), 60, f"{x.name} reads every key", every=0.2)
        final[x.name] = found
    return final


def _read(daemon, ids, salt):
    try:
        return read_all(daemon.mount, ids, salt)
    except OSError:
        return {}


def outcomes(records):
    return collections.Counter(r.get("errno", "served") for r in records)


@pytest.mark.timeout(300)
def test_twenty_daemons_agree_while_writes_are_lost_and_regions_flap(aws, launch, table, folder):
    # A cache of few keys and little freshness: most reads go to the store and the regions.
    daemons = [launch(name=f"host{n}", start=False, open_deadline="4s", fresh_for="1s", cache_keys=10) for n in range(DAEMONS)]
    for x in daemons:
        x.start()
    ids = [f"key-{n:02}" for n in range(IDS)]
    # Every third write is done and nobody is told, all the time; some come late, when their sender has given up.
    for region in aws.regions:
        region.dynamodb.call("POST", "/seed", {"seed": region.number})
        region.dynamodb.fault("lose_reply", op="PutItem", probability=0.3)
        region.dynamodb.fault("delay", op="PutItem", seconds=5, persist=True, probability=0.1)
    chaos = Chaos(aws.regions, [w for w in region_ways() if not w.name.startswith(("losing", "late"))], at_most=1, seed=3, least=0.5, longest=3)
    with Swarm(folder, {x.name: x.mount for x in daemons}, ids) as swarm:
        chaos.run(SECONDS)
        aws.heal()
    final = settled(daemons, ids, swarm.salt)
    assert len({tuple(sorted(found.items())) for found in final.values()}) == 1, "all daemons hold the same keys"
    records = swarm.records()
    assert_sound(records, final=final[daemons[0].name])
    assert set(cloud.items(aws, table)) == set(ids)
    made = sum(1 for r in records if r["kind"] != "fail")
    assert made > 10 * IDS, (outcomes(records), chaos.done)
    written = sum(r.dynamodb.stats()["calls"]["PutItem"]["total"] for r in aws.regions)
    assert written > IDS * 5 // 4, "there were races to lose, and replies"
    # A new daemon that knows nothing reads the same from what is stored.
    fresh = launch(name="fresh")
    assert read_all(fresh.mount, ids, swarm.salt) == final[daemons[0].name]

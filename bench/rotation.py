"""Rotation over many hosts: what idle hosts cost, counted at the store, and a run over many consumers."""

import subprocess
import threading
import time
from pathlib import Path

from measure import mount_bench, run_json
from stand import FakeAws, Keyfs, embedded_config
from warm import rows_of

# https://aws.amazon.com/dynamodb/pricing/on-demand/ (us-east-1): a million units.
READ_UNIT = 0.125 / 1_000_000
WRITE_UNIT = 0.625 / 1_000_000
MONTH = 30 * 24 * 3600
FLEETS = (1_000, 10_000, 20_000, 50_000, 100_000)
POLL = 30  # seconds, by default
SHARD = 20_000  # hosts


def counted(before, after):
    return {name: calls - before.get(name, 0) for name, calls in sorted(after.items()) if calls > before.get(name, 0)}


def table(per_host, fixed):
    """What fleets cost, of what one host and the holder of the lock ask for in a second. A month has no beginning: hosts that have just been
    started look at the lock more often for a few minutes, so how often they do is counted in the simulation, which goes on for longer."""
    rows = []
    for hosts in FLEETS:
        looks = hosts * per_host["pulse"]
        lock = hosts * per_host["lock"]
        holder = (fixed["writes"] * WRITE_UNIT + fixed["reads"] * READ_UNIT) * MONTH
        rows.append({"hosts": hosts, "shards": -(-hosts // SHARD), "looks_per_second": looks,
                     "dollars": looks / 2 * READ_UNIT * MONTH + holder,
                     "dollars_all_run": (looks + lock) / 2 * READ_UNIT * MONTH + holder})
    return rows


def idle(stand, scale):
    """Real daemons on one table, each with a state_dir of its own, that nobody uses."""
    hosts, seconds, poll = scale.idle
    aws = FakeAws(stand, ["us-east-1"])
    more = f"create_min_regions = 1\n[rotation]\npoll_every = {poll}s"
    daemons = [Keyfs(stand, f"idle-{i}", config=aws.config(more=more), environment=aws.environment()) for i in range(hosts)]
    # Somebody holds the lock. Its first pass over all keys comes a quarter of an hour after its start, the next hours later.
    end = time.monotonic() + 120
    while aws.counts().get("PutItem run", 0) < 3 and time.monotonic() < end:
        time.sleep(0.5)
    before, begin = aws.counts(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begin
    calls = counted(before, aws.counts())
    for daemon in daemons:
        daemon.stop()
    aws.stop()
    pulse = sum(n for name, n in calls.items() if name.startswith("GetItem pulse-"))
    strong = sum(n for name, n in calls.items() if name.startswith("GetItem ") and name.endswith(" strong"))
    writes = sum(n for name, n in calls.items() if name.startswith(("PutItem ", "DeleteItem ")))
    fixed = {"writes": writes / took, "reads": (strong + calls.get("Query list strong", 0)) / took}
    yield {"operation": "idle", "what": f"{hosts} daemons, poll_every {poll} s", "seconds": took, "calls": calls,
           "pulse": pulse, "expected": hosts * took / poll, "scans": calls.get("Scan", 0)}
    return pulse / hosts / took * poll / POLL, fixed


def simulated(stand, scale, pulse, fixed):
    """The same code in time that jumps: more hosts than this machine could run daemons."""
    hosts, minutes = scale.simulated_idle
    found = run_json([stand.tool("rotation_bench"), "idle", "--hosts", str(hosts), "--minutes", str(minutes)], "rotation_bench idle")
    seconds = found["simulated_seconds"]
    yield {"operation": "idle", "what": f"{hosts} simulated hosts, poll_every 30 s", "seconds": seconds,
           "calls": {name: found[name] for name in ("pulse_looks", "lock_looks", "reads", "writes", "lists")},
           "pulse": found["pulse_looks"], "expected": hosts * seconds / POLL, "scans": 0}
    yield {"operation": "fleet", "what": "at poll_every 30 s", "rows": table({"pulse": pulse, "lock": found["lock_looks"] / hosts / seconds}, fixed)}
    for parallel in (1, 10, 100):
        found = run_json([stand.tool("rotation_bench"), "run", "--consumers", str(scale.consumers), "--hosts", "100",
                          "--parallel", str(parallel)], "rotation_bench run")
        dollars = found["read_units"] * READ_UNIT + found["write_units"] * WRITE_UNIT
        yield {"operation": "run", "what": f"{scale.consumers} consumers on 100 hosts, 6 keys, parallel = {parallel}", **found, "dollars": dollars}


def beside_a_run(stand, scale):
    """Warm reads of one key while another is rotated again and again, and a consumer told of it, against a daemon that rests."""
    state = stand.folder("state-runs")
    hooks = "[rotation]\nsettle = 0ms\n[consumer all]\nmatch = uid:0\nkeys = turning\nrefresh = exec:/bin/true\nconfirm = exit\n"
    first = Keyfs(stand, "runs-first", state=state)  # makes the masters
    first.stop()
    runs, still = Keyfs(stand, "runs", config=embedded_config(state) + hooks, state=state), stand.keyfs("still")
    for keyfs in (runs, still):
        mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 1, 1)
    Path(runs.mount, "turning").read_bytes()
    over, turns = threading.Event(), []

    def turn():
        while not over.is_set():
            done = subprocess.run([runs.command[0], "rotate", "--wait", "-c", str(runs.state / "keyfs.ini"), "turning"], capture_output=True)
            turns.append(done.returncode)

    turning = threading.Thread(target=turn)
    turning.start()
    for readers in scale.readers:
        result = mount_bench(stand, "warm_read", {"keyfs": runs.mount, "without a run": still.mount}, readers, 1, scale.limit_rounds,
                             scale.round_ms, {"keyfs": runs, "without a run": still})
        yield rows_of(result, "without a run", "1 key, beside runs", 1.10)
    over.set()
    turning.join()
    if not turns or any(turns):
        raise RuntimeError(f"rotations beside the reads ended with {turns}")
    runs.stop()
    still.stop()


def rotation(stand, scale):
    yield from beside_a_run(stand, scale)
    pulse, fixed = yield from idle(stand, scale)
    yield from simulated(stand, scale, pulse, fixed)

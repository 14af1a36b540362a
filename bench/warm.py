"""Reads that the cache answers, against the null file system and against alternatives."""

import subprocess
import sys
from statistics import median

from measure import cost_us, cpu_us, mount_bench, quantile_us, row
from stand import FakeAws, Keyfs, Nginx, Socket, Tmpfs, embedded_config, wait_until

OPERATIONS = ("warm_cat", "warm_read", "stat", "ls")
FILE_LIMIT = {"warm_cat": 1.10, "warm_read": 1.10}


def rows_of(result, baseline, what, limit=None):
    operation, readers = result["operation"], result["readers"]
    keyfs = cost_us(result, "keyfs")
    made = row(operation, what, keyfs, baseline, cost_us(result, baseline), limit=limit, readers=readers,
               keys=result["keys"], disturbed=result["repeated"])
    made["quantiles"] = {name: [(share, median(quantile_us(result, name, share))) for share in result["quantiles"]]
                         for name in result["targets"]}
    if "cpu" in result["targets"]["keyfs"][0] and "cpu" in result["targets"][baseline][0]:
        made["cpu"] = row(f"cpu of {operation}", what, cpu_us(result, "keyfs"), baseline, cpu_us(result, baseline),
                          readers=readers)
    return made


def against_null(stand, scale, keyfs, null, keys, what, operations=OPERATIONS):
    for operation in operations:
        for readers in scale.readers:
            rounds = scale.limit_rounds if operation in FILE_LIMIT else scale.rounds
            result = mount_bench(stand, operation, {"keyfs": keyfs.mount, "null": null.mount}, readers, keys,
                                 rounds, scale.round_ms, {"keyfs": keyfs, "null": null})
            yield rows_of(result, "null", what, FILE_LIMIT.get(operation))


def one_key(stand, scale):
    keyfs, null = stand.keyfs("one"), stand.null_fs(1, "null-one")
    mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 1, 1)
    yield from against_null(stand, scale, keyfs, null, 1, "1 key")
    keyfs.stop()
    null.stop()


def alternatives(stand, scale):
    keyfs, tmpfs = stand.keyfs("alternatives"), Tmpfs(stand, 1)
    socket, nginx = Socket(stand), Nginx(stand, tmpfs.mount)
    mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 1, 1)
    for operation in ("warm_cat", "warm_read"):
        for readers in scale.readers:
            targets = {"keyfs": keyfs.mount, "tmpfs": tmpfs.mount, "unix socket": socket.target,
                       "https (nginx)": nginx.target}
            result = mount_bench(stand, operation, targets, readers, 1, max(3, scale.rounds // 2), scale.round_ms,
                                 ca=nginx.ca)
            for name in list(targets)[1:]:
                yield rows_of(result, name, "1 key")
    for server in (nginx, socket, tmpfs, keyfs):
        server.stop()


def audit_off(stand, scale):
    """The cost of the audit: against the same daemon without it."""
    with_audit = stand.keyfs("audit-on")
    state = stand.folder("state-audit-off")
    first = Keyfs(stand, "audit-off", state=state)
    first.stop()
    without = Keyfs(stand, "audit-off", config=embedded_config(state, "audit = off"), state=state)
    targets = {"keyfs": with_audit.mount, "without audit": without.mount}
    for mount in targets.values():
        mount_bench(stand, "fill", {"keyfs": mount}, 1, 1)
    for readers in scale.readers:
        result = mount_bench(stand, "warm_cat", targets, readers, 1, scale.rounds, scale.round_ms,
                             {"keyfs": with_audit, "without audit": without})
        yield rows_of(result, "without audit", "1 key")
    with_audit.stop()
    without.stop()


def ways_to_wait(stand, scale):
    """What threads of its own save, and would if one spun before it slept: the null file system with them, and as it is."""
    null = stand.null_fs(1, "null-pool")
    ways = {"threads=2": "two threads", "threads=4": "four threads", "spin=20": "one thread, spins 20 us"}
    for way, what in ways.items():
        other = stand.null_fs(1, f"null-{way}", way)
        for operation in ("warm_cat", "warm_read"):
            for readers in scale.readers:
                result = mount_bench(stand, operation, {"keyfs": other.mount, "null": null.mount}, readers, 1,
                                     scale.rounds, scale.round_ms, {"keyfs": other, "null": null})
                yield rows_of(result, "null", f"null, {what}")
        other.stop()
    null.stop()


def many_keys(stand, scale):
    keyfs, null = stand.keyfs("many"), stand.null_fs(scale.many_keys, "null-many")
    keyfs.end()
    subprocess.run([stand.tool("make_keys"), str(keyfs.state), str(scale.many_keys)], check=True)
    keyfs.start()
    for mount in (keyfs.mount, null.mount):
        mount_bench(stand, "fill", {"keyfs": mount}, 4, scale.many_keys)
    yield from against_null(stand, scale, keyfs, null, scale.many_keys, f"{scale.many_keys:,} keys")
    keyfs.stop()
    null.stop()


def waiting_opens(stand, scale):
    """warm_cat beside opens that wait for a region that never answers; daemons alike, in turns."""
    aws = FakeAws(stand, ["us-east-1"])
    config = aws.config(store="sqlite", more="open_deadline = 10m\nwaiting_opens = 16384")
    daemons, holders = {}, []
    for waiting in (0, *scale.waiting):
        daemon = Keyfs(stand, f"waiting-{waiting}", config=config, environment=aws.environment())
        daemons[f"{waiting} waiting"] = daemon
        mount_bench(stand, "fill", {"keyfs": daemon.mount}, 1, 1)
    aws.control(hang_ids="hang-")
    for waiting, daemon in zip(scale.waiting, list(daemons.values())[1:]):
        holders.append(subprocess.Popen([sys.executable, f"{__file__.rsplit('/', 1)[0]}/hold_opens.py",
                                         str(daemon.mount), str(waiting)], stdout=subprocess.PIPE))
        holders[-1].stdout.readline()
        wait_until(lambda: daemon.status()["mount"]["waiting_requests"] >= waiting, f"{waiting} waiting opens", 60)
    for readers in (1, 4):
        result = mount_bench(stand, "warm_cat", {name: daemon.mount for name, daemon in daemons.items()}, readers, 1,
                             scale.rounds, max(500, scale.round_ms) if scale.rounds > 3 else scale.round_ms)
        for name in list(daemons)[1:]:
            for share, label, limit in ((0.5, "p50", None), (0.99, "p99", 1.25), (0.999, "p99.9", None)):
                yield row(f"warm_cat {label}", f"{name}, {readers} readers", quantile_us(result, name, share),
                          "0 waiting", quantile_us(result, "0 waiting", share),
                          limit=limit if name == f"{scale.waiting[-1]} waiting" else None, readers=readers)
    for holder in holders:
        holder.kill()
        holder.wait()
    for server in (*daemons.values(), aws):
        server.stop()

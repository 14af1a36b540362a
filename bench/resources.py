"""What keyfs uses: memory for each key, calls and locks for each read, calls to the services, time to start."""

import mmap
import os
import re
import struct
import subprocess
import time

from measure import cost_us, cpu_us, mount_bench, quantile_us, row, run_json, spread
from stand import FakeAws, Failed, Keyfs, unmount, wait_until
from warm import OPERATIONS, against_null


def mount_to_first_read(stand, scale):
    """From the start of the command to the first key in hand; in turns with the null file system."""
    times = {"new": [], "again": [], "null": []}
    for i in range(scale.starts):
        state = stand.folder(f"state-start-{i}")
        os.rmdir(state)
        for kind in ("new", "again"):
            begin = time.perf_counter()
            mount = stand.folder(f"mount-start-{i}")
            done = subprocess.run([str(stand.build / "fs" / "keyfs"), "mount", "--embedded", str(state), str(mount)],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise Failed(done.stderr)
            with open(mount / "key-0", "rb", buffering=0) as file:
                file.read()
            times[kind].append((time.perf_counter() - begin) * 1e6)
            unmount(mount)
            wait_until(lambda: not is_mounted_by_a_process(mount), "the end of keyfs")
        begin = time.perf_counter()
        null = stand.null_fs(1, f"null-start-{i}")
        with open(null.mount / "key-0", "rb", buffering=0) as file:
            file.read()
        times["null"].append((time.perf_counter() - begin) * 1e6)
        null.stop()
    for kind, what in (("new", "embedded, new: masters and store made, key created"), ("again", "embedded, there already")):
        made = row("mount_to_first_read", what, times[kind], "null file system", times["null"])
        made["limit_us"] = 100_000
        yield made


def is_mounted_by_a_process(mount):
    """A daemon whose command line names the mount point still runs."""
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and str(mount).encode() in open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0"):
                return True
        except OSError:
            pass
    return False


def memory_and_known_ids(stand, scale):
    """Bytes for each cached key; then the warm operations beside a million of them."""
    for keys in (scale.many_keys, scale.known_ids):
        name = f"memory-{keys}"
        keyfs = stand.keyfs(name)
        keyfs.end()
        subprocess.run([stand.tool("make_keys"), str(keyfs.state), str(keys)], check=True)
        keyfs.start()
        mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 1, 16)
        before = keyfs.memory()
        begin = time.monotonic()
        mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 8, keys)
        seconds = time.monotonic() - begin
        after = keyfs.memory()
        resident, locked = ((b - a) / keys for a, b in zip(before, after))
        yield {"operation": "memory", "what": f"{keys:,} cached keys", "resident": resident, "locked": locked,
               "resident_limit": 400, "locked_limit": 128, "fill_us": seconds * 1e6 / keys}
        if keys == scale.known_ids:
            null = stand.null_fs(keys, "null-known")
            mount_bench(stand, "fill", {"null": null.mount}, 8, min(keys, scale.many_keys))
            # The keys that are read are a part of those that are known.
            for made in against_null(stand, scale, keyfs, null, scale.many_keys, f"{keys:,} known ids", OPERATIONS[:3]):
                yield made
            result = mount_bench(stand, "ls", {"keyfs": keyfs.mount, "null": null.mount}, 1, keys,
                                 3, max(1000, scale.round_ms) if scale.rounds > 3 else scale.round_ms)
            yield row("ls", f"{keys:,} known ids", cost_us(result, "keyfs"), "null", cost_us(result, "null"), readers=1)
            null.stop()
        keyfs.stop()


SLOT = struct.Struct("16s4Q16x")


def counted(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        slots = [SLOT.unpack_from(memory, i * 64) for i in range(len(memory) // 64)]
    return {name.rstrip(b"\0").decode(): numbers for name, *numbers in slots if name[0]}


def strace_counts(stand, pid, work):
    """System calls by thread's name and call while `work` runs."""
    log = stand.work / "strace.log"
    strace = subprocess.Popen(["strace", "-f", "-qq", "-p", str(pid), "-o", str(log)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: all("TracerPid:\t0" not in open(f"/proc/{pid}/task/{tid}/status").read()
                               for tid in os.listdir(f"/proc/{pid}/task")), "strace")
        names = {tid: open(f"/proc/{pid}/task/{tid}/comm").read().strip() for tid in os.listdir(f"/proc/{pid}/task")}
        work()
        for tid in os.listdir(f"/proc/{pid}/task"):
            names.setdefault(tid, open(f"/proc/{pid}/task/{tid}/comm").read().strip())
    finally:
        strace.terminate()
        strace.wait()
    counts = {}
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)", line)
        if not found or "<unfinished" in line or "+++" in line or "---" in line:
            continue
        by_call = counts.setdefault(names.get(found[1], "?"), {})
        by_call[found[2]] = by_call.get(found[2], 0) + 1
    return counts


def calls_of_a_read(stand, scale):
    """System calls, allocations and mutex locks of one warm cat, by thread, keyfs and the null file system alike."""
    reads = 2_000 if scale.rounds > 3 else 500

    def work(mount):
        for _ in range(reads):
            fd = os.open(mount / "key-0", os.O_RDONLY)
            os.fstat(fd)
            while os.read(fd, 128 * 1024):
                pass
            os.close(fd)

    for name in ("keyfs", "null"):
        file = stand.work / f"counts-{name}"
        preload = {"LD_PRELOAD": str(stand.build / "bench" / "libcount_calls.so"), "COUNT_CALLS_FILE": str(file)}
        os.environ.update(preload)
        try:
            server = stand.keyfs("counted") if name == "keyfs" else stand.null_fs(1, "null-counted")
        finally:
            for variable in preload:
                del os.environ[variable]
        work(server.mount)
        time.sleep(0.3)  # the audit's writer is done
        before = counted(file)
        work(server.mount)
        time.sleep(0.3)
        after = counted(file)
        server.stop()
        for thread, numbers in after.items():
            earlier = before.get(thread, [0] * 4)
            delta = [(b - a) / reads for a, b in zip(earlier, numbers)]
            if any(delta):
                yield {"operation": "counts", "server": name, "thread": thread, "allocations": delta[0],
                       "frees": delta[1], "locks": delta[2], "contended": delta[3]}
        server = stand.keyfs("straced") if name == "keyfs" else stand.null_fs(1, "null-straced")
        work(server.mount)
        calls = strace_counts(stand, server.pid, lambda: work(server.mount))
        server.stop()
        for thread, by_call in calls.items():
            yield {"operation": "system calls", "server": name, "thread": thread,
                   "calls": {call: count / reads for call, count in sorted(by_call.items())}}


# https://aws.amazon.com/kms/pricing/ and https://aws.amazon.com/dynamodb/pricing/on-demand/ (us-east-1): a request to
# KMS; half a read unit for an eventually consistent GetItem of up to 4 KB.
KMS_CALL = 0.03 / 10_000
GET_ITEM = 0.125 / 1_000_000 / 2
CALLS_KEYS = 1_000


def calls_for_a_million_reads(stand, scale):
    """Counted at the services. At a fresh_for of 5 minutes the run is over before any key is checked again, so it is
    counted once more with one of 2 s: how often a key is checked in each such time, and what that calls."""
    aws = FakeAws(stand, ["us-east-1", "us-west-2", "eu-central-1"])
    keyfs = Keyfs(stand, "calls", config=aws.config(), environment=aws.environment())
    mount_bench(stand, "fill", {"keyfs": keyfs.mount}, 16, CALLS_KEYS)

    def count(config, reads, seconds):
        keyfs.stop()
        server = Keyfs(stand, "calls", config=config, environment=aws.environment())
        before = aws.counts()
        begin = time.monotonic()
        done = 0
        while done < reads or time.monotonic() - begin < seconds:
            result = mount_bench(stand, "warm_read", {"keyfs": server.mount}, 4, CALLS_KEYS, 1, 2_000)
            done += result["targets"]["keyfs"][0]["operations"]
        took = time.monotonic() - begin
        after = aws.counts()
        server.stop()
        wanted = ("GetItem", "PutItem", "Decrypt", "Encrypt", "GenerateDataKey")
        return {name: after.get(name, 0) - before.get(name, 0) for name in wanted}, done, took

    calls, done, took = count(aws.config(), scale.reads_counted, 0)
    yield {"operation": "calls", "what": "fresh_for 5 min, cold start", "reads": done, "seconds": took, "calls": calls,
           "dollars": calls["Decrypt"] * KMS_CALL + calls["GetItem"] * GET_ITEM, "dollars_uncached": done * KMS_CALL}
    short, done, took = count(aws.config(more="fresh_for = 2s"), 0, 12 if scale.rounds > 3 else 5)
    yield {"operation": "calls", "what": "fresh_for 2 s", "reads": done, "seconds": took, "calls": short,
           "checks_per_key_and_period": (short["GetItem"] - CALLS_KEYS) / CALLS_KEYS / (took / 2)}
    aws.stop()


def parts(stand, scale):
    found = run_json([stand.tool("parts_bench"), "--benchmark_format=json",
                      f"--benchmark_min_time={scale.parts_seconds}", "--benchmark_repetitions=3",
                      "--benchmark_report_aggregates_only=true"], "parts_bench")
    for entry in found["benchmarks"]:
        if entry.get("aggregate_name") != "median":
            continue
        yield {"operation": "part", "what": entry["run_name"], "ns": entry["real_time"], "cpu_ns": entry["cpu_time"]}

"""Runs the benchmarks and writes the results. See scripts/bench.

Each group yields rows (bench/measure.py); the report is made of whatever groups were run."""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time
import traceback

import cold
import report
import resources
import rotation
import signing
import warm
from measure import Scale
from stand import Failed, Stand

GROUPS = {
    "warm": (warm.one_key, "warm_cat, warm_read, stat and ls of one key against the null file system"),
    "many": (warm.many_keys, "the same over 10,000 keys"),
    "alternatives": (warm.alternatives, "warm_cat and warm_read against tmpfs, a Unix socket, loopback HTTPS"),
    "audit": (warm.audit_off, "warm_cat with the audit on against off"),
    "waits": (warm.ways_to_wait, "the null file system with other ways to wait for requests, against libfuse's pool"),
    "waiting": (warm.waiting_opens, "warm_cat while 200 and 4,000 opens wait for a region that never answers"),
    "cold": (cold.cold, "cold_read, create, faults, stampede, cold_10k against bare libcurl"),
    "start": (resources.mount_to_first_read, "mount_to_first_read"),
    "memory": (resources.memory_and_known_ids, "memory for each key; the warm operations beside 1,000,000 known ids"),
    "counts": (resources.calls_of_a_read, "system calls, allocations and locks of a warm read"),
    "calls": (resources.calls_for_a_million_reads, "calls to KMS and store for a million reads, and their price"),
    "rotation": (rotation.rotation, "what idle hosts ask of the store and cost, and a run over 1,000 consumers"),
    "signing": (signing.signing, "signatures through the mount against OpenSSL's own, and against the bare call of KMS"),
    "parts": (resources.parts, "the parts, by Google Benchmark"),
}


def text_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    os_name = next((line.split("=", 1)[1].strip().strip('"') for line in open("/etc/os-release")
                    if line.startswith("PRETTY_NAME=")), platform.system())
    memory = int(open("/proc/meminfo").readline().split()[1]) / 1024 / 1024
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory), "kernel": platform.release(), "os": os_name,
            "libfuse": text_of(["pkg-config", "--modversion", "fuse3"]),
            "libcurl": text_of(["pkg-config", "--modversion", "libcurl"]), "date": time.strftime("%Y-%m-%d")}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures keyfs.", epilog="Groups: " + "; ".join(
        f"{name}: {what}" for name, (_, what) in GROUPS.items()))
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="all when none is named")
    parser.add_argument("--quick", action="store_true", help="less of everything: that it works, not what it costs")
    parser.add_argument("--idle", metavar="HOSTS,SECONDS,POLL", help="of rotation: so many daemons, for so long, at this poll_every (20,600,30: ten minutes)")
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--out", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    out = pathlib.Path(arguments.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    scale = Scale.quick() if arguments.quick else Scale()
    if arguments.idle:
        try:
            hosts, seconds, poll = (int(part) for part in arguments.idle.split(","))
        except ValueError:
            parser.error("--idle takes three numbers, such as 20,600,30")
        scale.idle = (hosts, seconds, poll)
    rows, failures = [], {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left mounted
    begin = time.monotonic()
    for name in arguments.groups or GROUPS:
        print(f"== {name} (after {time.monotonic() - begin:.0f} s)", flush=True)
        with Stand(arguments.build, out / "work") as stand:
            try:
                for row in GROUPS[name][0](stand, scale):
                    row["group"] = name
                    rows.append(row)
                    print(report.line(row), flush=True)
            except Failed as failed:
                failures[name] = str(failed)
                print(f"scripts/bench: {name}: {failed}", file=sys.stderr)
            except Exception as error:  # one group that breaks does not take the others with it
                failures[name] = repr(error)
                traceback.print_exc()
    results = {"machine": {**machine(), "load": os.getloadavg()[0]}, "quick": arguments.quick, "rows": rows,
               "failures": failures, "seconds": time.monotonic() - begin}
    (out / "results.json").write_text(json.dumps(results, indent=1))
    (out / "report.md").write_text(report.markdown(results))
    print(f"written: {out}/report.md, {out}/results.json (after {results['seconds']:.0f} s)")
    report.plots(results, out)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

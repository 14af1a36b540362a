"""Shared by all benchmarks: amounts, the measuring programs, medians and ratios."""

import dataclasses
import json
import os
import statistics
import subprocess

QUANTILE_NAMES = {0.5: "p50", 0.99: "p99", 0.999: "p99.9"}


@dataclasses.dataclass
class Scale:
    """How much is measured; --quick shows little more than that everything works."""

    rounds: int = 7
    limit_rounds: int = 21  # of what has a limit near what it costs: seven leave 5 % to chance
    round_ms: int = 150
    readers: tuple = (1, 2, 4, 16)
    many_keys: int = 10_000
    known_ids: int = 1_000_000
    waiting: tuple = (200, 4_000)
    cold: dict = dataclasses.field(default_factory=lambda: {0: 400, 5_000: 150, 50_000: 30})
    fault_reads: int = 60
    stampede: int = 1_000
    cold_many: int = 10_000
    connections: int = 64
    starts: int = 7
    reads_counted: int = 1_000_000
    parts_seconds: float = 0.2
    idle: tuple = (20, 120, 30)  # daemons, seconds, poll_every; --idle
    simulated_idle: tuple = (1_000, 60)  # hosts, minutes
    consumers: int = 1_000

    @staticmethod
    def quick():
        return Scale(rounds=3, limit_rounds=3, round_ms=60, readers=(1, 4), many_keys=1_000, known_ids=20_000, waiting=(200, 1_000),
                     cold={0: 40, 5_000: 20}, fault_reads=20, stampede=200, cold_many=1_000, starts=3,
                     reads_counted=20_000, parts_seconds=0.02, idle=(5, 20, 2), simulated_idle=(100, 10), consumers=100)


def run_json(command, what, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        from stand import Failed
        raise Failed(f"{what}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def mount_bench(stand, operation, targets, readers=1, keys=1, rounds=1, round_ms=100, servers=None, ca=None):
    """`targets` by name: a folder, unix:... or https://...; `servers`: their processes by name."""
    command = [stand.tool("mount_bench"), operation, "--readers", str(readers), "--keys", str(keys),
               "--rounds", str(rounds), "--round-ms", str(round_ms)]
    for name, server in (servers or {}).items():
        command += ["--cpu", f"{name}={server.pid}"]
    command += [f"{name}={target}" for name, target in targets.items()]
    environment = {**os.environ, **({"CURL_CA_BUNDLE": ca} if ca else {})}
    return run_json(command, f"mount_bench {operation}", env=environment)


def spread(values):
    """Median, and the quartiles around it."""
    values = sorted(values)
    if len(values) == 1:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": statistics.median(values), "low": low, "high": high}


def quantile(values, share):
    values = sorted(values)
    return values[round(share * (len(values) - 1))]


def cost_us(result, name):
    """Microseconds that one reader spends on one operation, for each round."""
    return [turn["took"] * result["readers"] / turn["operations"] / 1000 for turn in result["targets"][name]]


def quantile_us(result, name, share):
    place = result["quantiles"].index(share)
    return [turn["quantiles"][place] / 1000 for turn in result["targets"][name]]


def cpu_us(result, name):
    return [turn["cpu"] / turn["operations"] / 1000 for turn in result["targets"][name]]


def ratios(values, baseline):
    """Of turns that followed each other; one in which the baseline did nothing says nothing."""
    return spread([a / b for a, b in zip(values, baseline) if b > 0] or [0])


def row(operation, what, value, baseline_name, baseline, unit="us", limit=None, **more):
    """One line of the report: what keyfs takes, what the baseline takes, the ratio of their turns."""
    return {"operation": operation, "what": what, "value": spread(value), "unit": unit,
            "baseline": baseline_name, "baseline_value": spread(baseline), "ratio": ratios(value, baseline),
            "limit": limit, **more}

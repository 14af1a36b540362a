"""Reads that the cache can't answer, and creations: with bench/fake_aws.cc for KMS and DynamoDB, each call of which takes
the given delay, against bare libcurl."""

from measure import mount_bench, quantile, row, run_json, spread
from stand import FakeAws, Keyfs

REGIONS = ["us-east-1", "us-west-2", "eu-central-1"]
HEDGE_LEAST_US = 20_000


def cold_bench(stand, aws, keyfs, operation, first, count, connections=64, prefix="key-", bare=True):
    command = [stand.tool("cold_bench"), operation, "--mount", str(keyfs.mount), *aws.region_arguments(),
               "--first", str(first), "--count", str(count), "--connections", str(connections), "--prefix", prefix]
    return run_json(command + ([] if bare else ["--no-bare"]), f"cold_bench {operation}")


def us(values):
    return [value / 1000 for value in values]


class Cold:
    """A daemon with DynamoDB and three regions, and ids that nobody has read since it started."""

    def __init__(self, stand, scale):
        self.stand, self.scale = stand, scale
        self.aws = FakeAws(stand, REGIONS)
        self.keyfs = Keyfs(stand, "cold", config=self.aws.config(), environment=self.aws.environment())
        # Ids for every measurement; keyfs makes them itself.
        mount_bench(stand, "fill", {"keyfs": self.keyfs.mount}, 32, scale.cold_many)

    def fresh(self):
        """Nothing cached, connections and latencies known: as a daemon that has run for a while."""
        self.aws.control(mode="ok", delay_us=0)
        self.keyfs.restart()
        self.next = 0

    def warm_up(self, reads):
        cold_bench(self.stand, self.aws, self.keyfs, "cold_read", self.take(reads), reads, bare=False)

    def take(self, count):
        first, self.next = self.next, self.next + count
        return first

    def stop(self):
        self.keyfs.stop()
        self.aws.stop()


def reads_and_creates(cold):
    new = 0
    for delay, count in cold.scale.cold.items():
        cold.fresh()
        cold.aws.control(delay_us=delay)
        cold.warm_up(12)
        before = cold.aws.counts()
        result = cold_bench(cold.stand, cold.aws, cold.keyfs, "cold_read", cold.take(count), count)
        after = cold.aws.counts()
        calls = {name: (after.get(name, 0) - before.get(name, 0) - count - 1) / count for name in ("GetItem", "Decrypt")}
        yield row("cold_read", f"each call {delay / 1000:g} ms", us(result["mount"]), "GetItem + Decrypt",
                  us(result["bare"]), limit=1.15 if delay == 5_000 else None, calls=calls)
        before = after
        result = cold_bench(cold.stand, cold.aws, cold.keyfs, "create", new, count, prefix=f"new-{delay}-")
        new += count
        yield row("create", f"each call {delay / 1000:g} ms", us(result["mount"]),
                  "GenerateDataKey + Encrypt + PutItem", us(result["bare"]))


def faults(cold):
    """The preferred region hangs, is ten times slower, or errs; the others stay as they were."""
    count = cold.scale.fault_reads
    for fault, control in (("hangs", {"mode": "hang"}), ("is 10x slower", {"delay_us": 50_000}),
                           ("errs", {"mode": "error"})):
        cold.fresh()
        cold.aws.control(delay_us=5_000)
        for region in REGIONS[1:]:
            cold.aws.control(f"kms:{region}", delay_us=9_000)
        cold.warm_up(30)
        healthy = us(cold_bench(cold.stand, cold.aws, cold.keyfs, "cold_read", cold.take(count), count,
                                bare=False)["mount"])
        cold.aws.control(f"kms:{REGIONS[0]}", **control)
        faulty = us(cold_bench(cold.stand, cold.aws, cold.keyfs, "cold_read", cold.take(count), count,
                               bare=False)["mount"])
        allowed = spread(healthy)["median"] + max(HEDGE_LEAST_US, 1.25 * quantile(healthy, 0.95) / 2)
        made = row("cold_read", f"preferred region {fault}", faulty, "healthy", healthy)
        made["worst"] = max(faulty)
        made["first_us"] = faulty[0]
        if fault == "hangs":
            # Stated as a sum: healthy and the hedge delay (1.25 of the region's p95, 20 ms at least).
            made["limit"] = allowed / spread(healthy)["median"]
        yield made


def stampede(cold):
    cold.fresh()
    cold.aws.control(delay_us=5_000)
    cold.warm_up(12)
    before = cold.aws.counts()
    readers = cold.scale.stampede
    result = cold_bench(cold.stand, cold.aws, cold.keyfs, "stampede", cold.take(1), readers, connections=1)
    after = cold.aws.counts()
    # The bare pair was asked twice, once to connect.
    calls = {name: after.get(name, 0) - before.get(name, 0) - 2 for name in ("GetItem", "Decrypt")}
    last = [max(us(result["mount"]))]
    made = row("stampede", f"{readers:,} readers of one cold id, the last one", last, "GetItem + Decrypt",
               us(result["bare"]), calls=calls)
    made["median_us"] = quantile(us(result["mount"]), 0.5)
    yield made


def cold_many(cold):
    cold.fresh()
    scale = cold.scale
    cold.warm_up(12)
    count = (scale.cold_many - 12) // 10 * 10
    result = cold_bench(cold.stand, cold.aws, cold.keyfs, "cold_many", 12, count, scale.connections)
    each = result["ids"]
    turns = [(mount / 1000 / each, bare / 1000 / each, disturbed)
             for mount, bare, disturbed in zip(result["mount"], result["bare"], result["disturbed"])]
    good = [turn for turn in turns if not turn[2]]
    if len(good) < 3:
        good = turns
    yield row("cold_10k", f"{count:,} cold ids, {scale.connections} at once", [mount for mount, _, _ in good],
              "libcurl's multi, as many connections", [bare for _, bare, _ in good], limit=1.5,
              disturbed=len(turns) - len(good))


def cold(stand, scale):
    measured = Cold(stand, scale)
    for part in (reads_and_creates, faults, stampede, cold_many):
        yield from part(measured)
    measured.stop()

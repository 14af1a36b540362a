"""Random faults from a seed, a limited number at once, all healed in the end; histories are recorded under them.

A Fault here is a pair of actions on one target (a member, a region): break it, repair it. Chaos draws targets and ways; the same seed draws the same."""
import random
import time
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Way:
    """One way in which a target can be broken. mend(target) must work whatever state it's in."""

    name: str
    breaks: Callable
    mends: Callable


class Chaos:
    """targets: whatever the ways act upon. at_most: how many of them are broken at the same time. Not for several threads: step from the main
    thread, for a way may start processes."""

    def __init__(self, targets, ways, at_most, seed, least=0.2, longest=3.0):
        """Each fault lasts from least to longest seconds, and so do the pauses between steps, over at_most."""
        self.targets, self.ways, self.at_most, self.least, self.longest = list(targets), list(ways), at_most, least, longest
        self.seed = seed
        self._random = random.Random(seed)
        self._broken = {}  # index of target -> (way, when it's to be mended)
        self.done = []  # what was done, for the report of a failed test: (seconds since the start, "break" | "mend", target's index, way)
        self._start = time.monotonic()

    def run(self, seconds):
        """Breaks and mends for so long, then mends all."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                self.step()
                time.sleep(min(self._random.uniform(self.least, self.longest) / self.at_most, max(0, until - time.monotonic())))
        finally:
            self.mend_all()

    def step(self):
        """Mends what is due, then breaks one more if it may."""
        now = time.monotonic()
        for index, (_, due) in list(self._broken.items()):
            if due <= now:
                self._mend(index)
        if len(self._broken) < self.at_most:
            index = self._random.choice([i for i in range(len(self.targets)) if i not in self._broken])
            way = self._random.choice(self.ways)
            self._broken[index] = (way, now + self._random.uniform(self.least, self.longest))
            self._note("break", index, way)
            way.breaks(self.targets[index])

    def mend_all(self):
        for index in list(self._broken):
            self._mend(index)

    def _mend(self, index):
        way, _ = self._broken[index]
        way.mends(self.targets[index])
        del self._broken[index]
        self._note("mend", index, way)

    def _note(self, what, index, way):
        self.done.append((round(time.monotonic() - self._start, 3), what, index, way.name))


def proxy_ways(proxies_of):
    """Ways for targets that have proxies: proxies_of(target) -> [Proxy]. They touch only their own faults."""
    def link(state):
        return Way(state, lambda t: [p.link(state) for p in proxies_of(t)], lambda t: [p.link("pass") for p in proxies_of(t)])

    def fault(name, **spec):
        added = {}  # a test's own faults on the same proxy stay

        def breaks(target):
            added[id(target)] = [(p, p.fault(**spec)) for p in proxies_of(target)]

        def mends(target):
            for p, number in added.pop(id(target), ()):
                p.clear(number)

        return Way(name, breaks, mends)

    return [link("refuse"), link("cut"), link("hang"), link("blackhole"), fault("reset", do="reset"), fault("hanging", do="hang"),
            fault("erring", do="error", type="KMSInternalException", status=500), fault("throttling", do="error", type="ThrottlingException"),
            fault("slow", do="delay", seconds=0.5), fault("cut short", do="truncate"), fault("losing replies", do="lose_reply", probability=0.5),
            fault("late", do="delay", seconds=1.0, persist=True, probability=0.5)]


def region_ways():
    """For aws.Region: KMS and DynamoDB of a region break together."""
    return proxy_ways(lambda region: [region.kms, region.dynamodb])


def member_ways(wipe=False):
    """For etcd.Member. A mended member is healthy. wipe: also losing its data, and being taken in again as etcd demands."""
    def settled(mend):
        def mends(member):
            mend(member)
            member.await_healthy()
        return mends

    ways = [Way("kill", lambda m: m.kill(), lambda m: m.restart()), Way("pause", lambda m: m.pause(), settled(lambda m: m.resume())),
            Way("cut_peers", lambda m: m.cut_peers(), settled(lambda m: m.join_peers())),
            Way("cut", lambda m: m.link("cut"), lambda m: m.link("pass")), Way("hang", lambda m: m.link("hang"), lambda m: m.link("pass")),
            Way("losing replies", lambda m: m.http_proxy.fault("lose_reply", path="/v3/kv/*", probability=0.5), lambda m: m.http_proxy.clear())]
    return ways + ([Way("wipe", lambda m: m.kill(), lambda m: m.restart(wipe=True))] if wipe else [])

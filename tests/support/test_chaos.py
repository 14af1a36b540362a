"""Chaos keeps to its bounds and mends all; the swarm notes what it reads, and the checker judges it."""
import pytest

from . import history
from .chaos import Chaos, Way, region_ways
from .swarm import Swarm, read_all


class Target:
    worst = now = 0

    def __init__(self):
        self.broken = []

    def breaks(self, name):
        assert not self.broken
        self.broken.append(name)
        Target.now += 1
        Target.worst = max(Target.worst, Target.now)

    def mends(self):
        self.broken.clear()
        Target.now -= 1


def ways(*names):
    return [Way(n, lambda t, n=n: t.breaks(n), lambda t: t.mends()) for n in names]


def test_at_most_so_many_are_broken_and_all_are_mended():
    targets = [Target() for _ in range(5)]
    chaos = Chaos(targets, ways("a", "b"), at_most=2, seed=3, least=0.001, longest=0.01)
    chaos.run(0.5)
    assert Target.worst == 2 and Target.now == 0 and len(chaos.done) > 20
    assert {way for _, _, _, way in chaos.done} == {"a", "b"}


def test_all_is_mended_when_a_way_fails():
    def fail(_):
        raise RuntimeError("broke in a way not meant")

    targets = [Target() for _ in range(3)]
    chaos = Chaos(targets, [*ways("a"), Way("bad", fail, lambda t: None)], at_most=3, seed=1, least=0.001, longest=0.01)
    with pytest.raises(RuntimeError):
        chaos.run(5)
    assert not any(t.broken for t in targets)


def test_regions_work_again_after_every_way(aws):
    region = aws.regions[0]
    for way in region_ways():
        way.breaks(region)
        way.mends(region)
        assert region.kms.faults() == []
        assert region.kms.call("GET")["link"] == "pass"


def swarm(folder, mounts, least=50):
    with Swarm(folder, mounts, ["a", "b", "none"], readers=2) as s:
        s.await_reads(least)
    return s


def test_a_swarm_over_agreeing_mounts_is_sound(tmp_path):
    for mount in ("one", "two"):
        (tmp_path / mount).mkdir()
        for ident in ("a", "b"):
            (tmp_path / mount / ident).write_bytes(ident.encode() * 32)
    s = swarm(tmp_path, {m: str(tmp_path / m) for m in ("one", "two")})
    records = s.records()
    assert {(r["daemon"], r["id"], r["kind"]) for r in records} == {(d, i, k) for d in ("one", "two") for i, k in (("a", "read"), ("b", "read"), ("none", "fail"))}
    history.assert_sound(records, final=read_all(tmp_path / "one", ["a", "b"], s.salt))


def test_a_swarm_over_mounts_that_differ_is_not(tmp_path):
    for n, mount in enumerate(("one", "two")):
        (tmp_path / mount).mkdir()
        (tmp_path / mount / "a").write_bytes(b"k" * 32)
        (tmp_path / mount / "b").write_bytes(bytes([n]) * 32)
    s = swarm(tmp_path, {m: str(tmp_path / m) for m in ("one", "two")})
    assert {(v.law, v.key) for v in history.check(s.records())} == {("one plaintext per version", "b")}

"""Versions of a key on several hosts: three daemons on one store, of each kind. What a rotation, a retirement and a destruction mean to their readers."""
import hashlib
import os
import time

import pytest

import seen
from aws import cloud
from fleet import PROMISED, Fleet, Readers, Watched, sections_of, version_at
from support.cli import DONE, PARTIAL
from support.process import eventually

ROTATIONS, OPENS = 50, 10_000
REVOKED = "EKEYREVOKED"


@pytest.fixture(params=list(PROMISED))
def fleet(request, folder):
    """fleet(...) -> three running daemons on a new store, which all have `orders`. fleet.kind: the store's."""
    kind = request.param
    if kind != "sqlite":
        request.getfixturevalue({"dynamodb": "aws", "etcd": "etcd"}[kind])
    make_daemon = request.getfixturevalue("make_daemon")  # after the servers, so that it ends before them

    def launch(**keyfs):
        sections, env = sections_of(kind, request, folder, **{"fresh_for": PROMISED[kind][0], **keyfs})
        made = Fleet(kind, [make_daemon(sections, name=f"host{n}", env=env).start() for n in range(3)])
        made.one("orders")
        return made

    launch.kind = kind
    return launch


def test_the_plain_name_gives_the_new_bytes_and_number_1_the_old_ones(fleet):
    hosts = fleet()
    first = hosts.one("orders")
    assert hosts.rotate() == 2
    hosts.await_version(2)
    second = hosts.one("orders")
    assert second != first and len(second) == len(first) == 32
    assert hosts.one(".keyfs/versions/orders/1") == first
    assert hosts.one(".keyfs/versions/orders/2") == hosts.one(".keyfs/versions/orders/current") == second
    assert hosts.one(".keyfs/hex/orders") == second.hex().encode()
    assert {tuple(sorted(os.listdir(x.path(".keyfs/versions/orders")))) for x in hosts.daemons} == {("1", "2", "current")}
    for number in ("3", "7", "0", "01"):
        assert hosts.errors(f".keyfs/versions/orders/{number}") == ["ENOENT"] * 3
    # A key of its own, whatever its name looks like.
    assert hosts.one("orders@1") not in (first, second)


def test_all_daemons_serve_a_new_version_within_the_bound_and_none_goes_back(fleet):
    hosts = fleet()
    with Watched(hosts.daemons, lambda daemon: version_at(daemon.path("orders"))) as watched:
        for number in range(2, 7):
            assert hosts.rotate() == number
            late = watched.await_all(number, time.monotonic())
            assert max(late.values()) < hosts.bound, (number, late)
    for name in watched.changes:
        assert watched.answers(name) == list(range(1, 7)), name


def test_the_number_of_each_open_fits_its_bytes_while_the_key_is_rotated(fleet):
    """10,000 opens of `current` on three hosts race 50 rotations; the plain name and its text are looked at among them."""
    hosts = fleet() if fleet.kind == "etcd" else fleet(fresh_for="100ms")  # many versions are met
    with Readers(hosts.daemons, OPENS // 3 + 1) as readers:
        numbers = [hosts.rotate() for _ in range(ROTATIONS)]
        hosts.await_version(numbers[-1])
        results = readers.results()
    assert numbers == list(range(2, ROTATIONS + 2))
    assert sum(result["opens"] for result in results) >= OPENS
    right = {str(n): hashlib.sha256(hosts.one(f".keyfs/versions/orders/{n}")).hexdigest() for n in (1, *numbers)}
    assert len(set(right.values())) == len(right)
    for result in results:
        assert not result["wrong"], result["wrong"][:5]
        assert result["digests"] == {n: [right[n]] for n in result["digests"]}
        assert len(result["digests"]) > 5, "the opens did race the rotations"


def test_a_descriptor_that_was_opened_before_keeps_its_version_and_costs_no_call(fleet, request):
    hosts = fleet(fresh_for="5m")  # within which nothing is checked for its age
    first = hosts.one("orders")
    files = [os.open(x.path("orders"), os.O_RDONLY) for x in hosts.daemons]
    try:
        hosts.rotate()
        if hosts.kind == "dynamodb":
            hosts.one(".keyfs/versions/orders/2")  # by which a daemon learns of the rotation
        hosts.await_version(2)
        second = hosts.one("orders")
        calls = cloud.Calls(request.getfixturevalue("aws")) if hosts.kind == "dynamodb" else None

        def costs():
            return [(seen.region_calls(x), seen.total(x, "keyfs_refreshes_total"), seen.total(x, "keyfs_fetch_seconds_count")) for x in hosts.daemons]

        before = costs()
        for fd in files:
            for _ in range(1000):
                assert os.pread(fd, 4096, 0) == first
        assert costs() == before
        if calls:
            made = calls.all()
            assert "GetItem" not in made and not cloud.kms_calls(made), made
        assert hosts.one("orders") == second
    finally:
        for fd in files:
            os.close(fd)


def test_retired_and_destroyed_versions_are_refused_on_all_daemons_within_the_bound(fleet):
    hosts = fleet()
    hosts.rotate()
    hosts.rotate()
    hosts.await_version(3)
    keys = {n: hosts.one(f".keyfs/versions/orders/{n}") for n in (1, 2, 3)}
    files = [os.open(x.path(".keyfs/versions/orders/1"), os.O_RDONLY) for x in hosts.daemons]
    try:
        with Watched(hosts.daemons, lambda daemon: seen.error_name(daemon.read, ".keyfs/versions/orders/1")) as watched:
            hosts.command("retire", "orders", "--below", "2")
            late = watched.await_all(REVOKED, time.monotonic())
            assert max(late.values()) < hosts.bound, late
            # An open file is one more door.
            assert [seen.error_name(os.pread, fd, 4096, 0) for fd in files] == [REVOKED] * 3
            hosts.command("destroy", "--yes", "orders", "1")
        for name in watched.changes:
            assert watched.answers(name) == [None, REVOKED], name
    finally:
        for fd in files:
            os.close(fd)
    assert hosts.one(".keyfs/versions/orders/2") == keys[2] and hosts.one("orders") == keys[3]
    # A host that never knew it, and one that takes the retirement back: what was destroyed stays refused.
    hosts.daemons[1].restart()
    hosts.command("retire", "orders", "--below", "1")
    hosts.daemons[2].restart()
    assert hosts.errors(".keyfs/versions/orders/1") == [REVOKED] * 3
    assert hosts.one(".keyfs/versions/orders/2") == keys[2] and hosts.one("orders") == keys[3]


def test_a_disabled_key_is_refused_in_every_place_on_all_daemons(fleet):
    hosts = fleet()
    hosts.rotate()
    hosts.await_version(2)
    places = ["orders", ".keyfs/versions/orders/1", ".keyfs/versions/orders/2", ".keyfs/versions/orders/current", ".keyfs/hex/orders", ".keyfs/base64/orders"]
    keys = {place: hosts.one(place) for place in places}

    def refused(daemon):
        return tuple(seen.error_name(daemon.read, place) for place in places)

    with Watched(hosts.daemons, refused) as watched:
        hosts.command("disable", "orders")
        late = watched.await_all((REVOKED,) * len(places), time.monotonic())
    assert max(late.values()) < hosts.bound, late
    hosts.command("enable", "orders")
    for daemon in hosts.daemons:
        for place in places:
            eventually(lambda x=daemon, p=place: seen.error_name(x.read, p) is None and x.read(p) == keys[p], 10, f"{place} is served again")


def test_rotations_on_three_hosts_at_once_make_one_version_each(fleet):
    hosts = fleet()
    for rounds in range(1, 5):
        ended = hosts.at_once(*((host, "rotate", "orders") for host in range(3)))
        assert all(code in (DONE, PARTIAL) for code, _ in ended), ended
        told = hosts.command("describe", "orders", codes=(DONE, PARTIAL))
        assert (told["current"], told["pending"], len(told["versions"])) == (1 + 3 * rounds, None, 1 + 3 * rounds)
        hosts.await_version(told["current"])
    # A number that another rotation has overtaken was never current, and is not there.
    readable = [version["version"] for version in told["versions"] if version["state"] == "readable"]
    assert len({hosts.one(f".keyfs/versions/orders/{n}") for n in readable}) == len(readable)


def test_commands_of_all_kinds_at_once_change_no_version(fleet):
    """The 1,000 rounds are in tests/fs/upkeep/key_versions_heal_test.cc; here are the commands and the real stores."""
    hosts = fleet()
    keys = {1: hosts.one("orders")}
    for rounds in range(6):
        rotation = ("rotate", "--token", f"round-{rounds}", "orders")
        hosts.at_once((0, *rotation), (1, "heal", "orders"), (2, "disable", "orders"), (1, "enable", "orders"), (2, "heal", "orders"))
        assert hosts.daemons[0].cli("enable", "orders").returncode == DONE
        done = hosts.daemons[0].cli(*rotation)
        assert done.returncode in (DONE, PARTIAL), done
        number = len(keys) + 1
        for daemon in hosts.daemons:
            eventually(lambda x=daemon: seen.error_name(x.read, f".keyfs/versions/orders/{number}") is None, what="the key is enabled, and the version known")
        for n in range(1, number + 1):
            key = hosts.one(f".keyfs/versions/orders/{n}")
            assert keys.setdefault(n, key) == key, n
    assert len(set(keys.values())) == len(keys) == 7
    assert hosts.daemons[0].cli("heal", "orders").returncode == DONE

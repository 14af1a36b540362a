"""keyfs rotate and promote, and what the consumers hear of it: the ticket, --wait, and how they end."""
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import rotation_fleets
from support import boards
from support.cli import DONE, FAILED, PARTIAL, USAGE, error_of, run
from support.daemon import local_sections, write_config
from support.process import eventually
from support.rotation import consumers_of
from support.users import walkable

FOLLOW = "consumers will be told in a run: keyfs rotation show --watch"
NOBODY = "consumers will be told once keyfs is mounted on a host that runs rotations"


def without_daemon(folder):
    """(configuration, board) of a host without a daemon, with the key orders."""
    sections = local_sections(folder / "parts", state_dir=folder / "state", audit="off")
    config = write_config(str(folder / "keyfs.ini"), {**sections, "admin": {"read": "uid:0"}})
    assert run("create", "-c", config, "orders").returncode == DONE
    return config, boards.SqliteBoard(sections["store"]["path"])


@pytest.fixture(scope="module")
def unattended(tmp_path_factory):
    """`rotate --wait` on a host that no daemon runs on: a future of (CompletedProcess, its seconds, board). It waits for the most part, so it does that beside the
    other tests."""
    config, board = without_daemon(walkable(tmp_path_factory.mktemp("unattended")))

    def wait():
        begin = time.monotonic()
        done = run("rotate", "-c", config, "--wait", "--json", "orders")
        return done, time.monotonic() - begin, board

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(wait)


@pytest.fixture(scope="module")
def running(request, tmp_path_factory, unattended):
    consumers = consumers_of(2, [0], lambda n: [["first"], ["second"]][n])
    with rotation_fleets.running("sqlite", request, tmp_path_factory, hosts=1, consumers=consumers, keys=["lonely"], rotation={"settle": "500ms"}) as fleet:
        yield fleet


@pytest.fixture
def fleet(running):
    running.hooks.all_well()
    eventually(running.quiet, 60, "what others asked for is done")
    return running


def told(done):
    """(exit code, {id: what is told of it}, the runs that were waited for)"""
    assert done.stdout, done
    answer = json.loads(done.stdout)
    return done.returncode, {key["id"]: key for key in answer["keys"]}, answer.get("runs")


def described(fleet, ident):
    return json.loads(fleet.cli("describe", "--json", ident).stdout)["keys"][0]


def current(fleet, ident):
    return described(fleet, ident)["current"]


def test_it_waits_until_the_consumer_has_taken_the_new_version(fleet):
    before = current(fleet, "first")
    code, keys, runs = told(fleet.cli("rotate", "--wait", "--json", "first", timeout=100))
    key = keys["first"]
    assert code == DONE and key["told"] == "complete" and key["ticket"] and key["run"] == runs[0]["run"] == fleet.newest()
    assert (key["outcome"], key["current"]) == ("promoted", before + 1)
    consumer, = runs[0]["consumers"]
    assert (consumer["consumer"], consumer["state"], consumer["keys"]) == ("app-000", "ok", [f"first/{before + 1}"])
    assert fleet.board.document("tickets", key["ticket"]) is None


def test_without_wait_it_says_how_to_follow_the_run_and_that_waits_for_it(fleet):
    before = fleet.newest()
    done = fleet.cli("rotate", "first")
    assert done.returncode == DONE and done.stdout.splitlines()[1:] == [FOLLOW] and done.stderr == "", done
    shown = fleet.cli("rotation", "show", "--watch", timeout=100)
    assert shown.returncode == DONE and fleet.newest() > before and f"run {fleet.newest()}: complete" in shown.stdout, shown


def test_a_consumer_that_fails_makes_it_3_and_is_named(fleet):
    fleet.hooks.behave("fail", "app-001")
    done = fleet.cli("rotate", "--wait", "second", timeout=100)
    assert done.returncode == PARTIAL and "app-001" in done.stdout and "in part" in done.stdout, done


def test_of_a_promotion_consumers_are_told_as_well(fleet):
    if current(fleet, "first") == 1:  # the first test to rotate it
        assert fleet.cli("rotate", "--wait", "first", timeout=100).returncode == DONE
    now = current(fleet, "first")
    code, keys, runs = told(fleet.cli("promote", "--wait", "--json", "first", str(now - 1), timeout=100))
    assert code == DONE and keys["first"]["told"] == "complete" and current(fleet, "first") == now - 1
    assert [key["version"] for key in runs[0]["keys"]] == [now - 1]


def test_a_promotion_is_not_made_again_by_the_run_that_tells_of_it(fleet):
    start, made = current(fleet, "first"), len(described(fleet, "first")["versions"])
    assert fleet.cli("rotate", "first").returncode == DONE
    assert fleet.cli("promote", "first", str(start)).returncode == DONE
    done = fleet.cli("rotate", "--wait", "first", timeout=100)
    assert done.returncode == DONE, done
    assert current(fleet, "first") == made + 2


def test_one_token_for_two_keys_is_a_ticket_of_each(fleet):
    code, keys, runs = told(fleet.cli("rotate", "--wait", "--json", "--token", "friday", "first", "second", timeout=100))
    assert code == DONE and len({key["ticket"] for key in keys.values()}) == 2
    assert {consumer["consumer"]: consumer["state"] for one in runs for consumer in one["consumers"]} == {"app-000": "ok", "app-001": "ok"}
    versions = [current(fleet, ident) for ident in ("first", "second")]
    code, keys, _ = told(fleet.cli("rotate", "--wait", "--json", "--token", "friday", "first", "second", timeout=100))
    assert code == DONE and [key["outcome"] for key in keys.values()] == ["already", "already"]
    assert [current(fleet, ident) for ident in ("first", "second")] == versions


def test_what_this_host_cannot_do_a_host_that_can_does(fleet):
    before = current(fleet, "lonely")
    with open(fleet.asked.config_file) as f:
        parts = f.read().split("key_file = ")
    blind = f"{fleet.asked.config_file}.blind"  # a host that lacks the masters of two regions
    with open(blind, "w") as f:
        f.write("key_file = ".join(parts[:2]) + "".join("key_file = /nonexistent" + part for part in parts[2:]))
    done = run("rotate", "-c", blind, "--wait", "--json", "lonely")
    code, keys, _ = told(done)
    assert keys["lonely"]["error"] and "it is overdue" in done.stderr
    assert (code, keys["lonely"]["told"], current(fleet, "lonely")) == (DONE, "complete", before + 1)
    # What was handed over and is done is over: the same command begins another.
    assert told(fleet.cli("rotate", "--wait", "--json", "lonely", timeout=100))[1]["lonely"]["outcome"] == "promoted"
    assert current(fleet, "lonely") == before + 2


def test_what_no_host_can_do_is_overdue_and_told_of_once_it_is_done_by_hand(fleet):
    before = current(fleet, "lonely")
    with open(fleet.asked.config_file) as f:
        away = [line.split(" = ")[1].strip() for line in f if line.startswith("key_file")][1:]
    for path in away:
        os.rename(path, f"{path}.away")
    try:
        done = fleet.cli("rotate", "--wait", "--json", "lonely", timeout=100)
    finally:
        for path in away:
            os.rename(f"{path}.away", path)
    code, keys, _ = told(done)
    assert (code, keys["lonely"]["told"], current(fleet, "lonely")) == (PARTIAL, "overdue", before)
    assert "key lonely is overdue: " in done.stderr and "overdue" in fleet.board.document("tickets", keys["lonely"]["ticket"])
    again = fleet.cli("rotate", "--wait", "--json", "lonely", timeout=100)
    code, later, _ = told(again)
    assert (code, later["lonely"]["told"], current(fleet, "lonely")) == (DONE, "complete", before + 1), again
    assert later["lonely"]["ticket"] == keys["lonely"]["ticket"] and not fleet.board.documents("tickets")


def test_a_held_version_is_told_to_nobody(fleet):
    code, keys, _ = told(fleet.cli("rotate", "--hold", "--json", "lonely"))
    assert code == DONE and keys["lonely"]["ticket"] is None and not fleet.board.documents("tickets")
    assert error_of(fleet.cli("rotate", "--hold", "--wait", "lonely"), USAGE)


# -- without a daemon

@pytest.fixture
def alone(folder):
    return without_daemon(folder)


def test_without_any_daemon_the_work_is_done_and_the_ticket_waits(alone):
    config, board = alone
    done = run("rotate", "-c", config, "orders")
    assert done.returncode == DONE and done.stdout.splitlines()[1:] == [NOBODY], done
    ticket, = board.documents("tickets").values()
    assert (ticket["do"], ticket["id"]) == ("rotate", "orders") and "uid 0" in ticket["by"] and ticket["asked"]


def test_wait_does_not_wait_for_a_daemon_that_nobody_has_started(unattended):
    done, seconds, board = unattended.result(timeout=60)
    code, keys, runs = told(done)
    assert seconds < 50
    assert code == PARTIAL and keys["orders"]["told"] == "unknown" and keys["orders"]["current"] == 2 and runs == []
    assert "no host runs rotations" in done.stderr
    assert len(board.documents("tickets")) == 1, "whoever runs rotations first does it"


def test_what_can_neither_be_done_now_nor_later_asks_for_nothing(alone):
    config, board = alone
    assert "there is no key nobody" in error_of(run("rotate", "-c", config, "--wait", "nobody"), FAILED)
    assert "was never made" in error_of(run("promote", "-c", config, "--wait", "orders", "9"), FAILED)
    assert not board.documents("tickets")


def test_an_overdue_rotation_that_is_run_again_is_the_same_ticket(alone, folder):
    config, board = alone
    away = [folder / "parts" / f"local-{name}.key" for name in "bc"]
    for path in away:
        path.rename(f"{path}.away")
    for _ in range(2):
        assert "it is overdue" in error_of(run("rotate", "-c", config, "orders"), FAILED)
    assert len(board.documents("tickets")) == 1
    for path in away:
        (path.parent / f"{path.name}.away").rename(path)
    assert run("rotate", "-c", config, "orders").returncode == DONE
    assert len(board.documents("tickets")) == 1

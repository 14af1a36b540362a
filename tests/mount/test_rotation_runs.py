"""Rotation over four hosts: whatever is changed, one run at a time tells each consumer once, and what fails is told by name and done again alone."""
import contextlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import seen
from rotation_fleets import running
from support.boards import Sampled
from support.cli import DONE, FAILED, PARTIAL
from support.memory import Search, scan_tree
from support.process import eventually
from support.rotation import FIRST_UID, Consumer, await_gone, consumers_of, most_at_once
from support.webhook import Webhook

KINDS = ("etcd", "sqlite", "dynamodb")
SIX = [f"orders-{n}" for n in range(6)]
IDLE_SECONDS = int(os.environ.get("KEYFS_TEST_IDLE_SECONDS", "0"))
PERIODS = int(os.environ.get("KEYFS_TEST_ROTATION_PERIODS", "1"))
HALF, FEW = 65, 8
SOME = range(10, 40)
LATE = 1  # the host that may be held back
PERIOD, RATE = 20, 500  # of keys that are rotated by themselves: seconds, and calls in one
CONSUMERS = {"etcd": 130, "sqlite": 26, "dynamodb": 26}
# etcd announces each step; the others are looked at each second, so that one consumer after the other would take minutes.
PARALLEL = {"etcd": 1, "sqlite": 40, "dynamodb": 40}


def keys_of(n):
    return SIX + (["pair"] if n < HALF else []) + (["few", "soon"] if n < FEW else []) + (["some"] if n in SOME else [])


def consumers(kind):
    made = consumers_of(CONSUMERS[kind], range(4), keys_of)
    made.append(Consumer("other", 2, FIRST_UID + len(made), ["seventh"]))
    for n in range(FEW):
        made[n].timeout = "2s"
    made[6].refresh = "signal:HUP"
    return made


def proxies_of_its_own(aws):
    """Before the table, for one host."""
    return [aws.proxies.add(f"late-{region.number}", aws.moto.host, aws.moto.port, ca=aws.ca, as_region=aws.regions[0].name) for region in aws.regions]


@pytest.fixture(scope="module")
def fleet_of(request, tmp_path_factory):
    """fleet_of(kind) -> four hosts with consumers, the same for all tests of this file."""
    with contextlib.ExitStack() as stack:
        made = {}

        def launch(kind):
            if kind not in made:
                webhook = stack.enter_context(Webhook())
                policy = {"soon": {"read": "any", "create": "uid:0", "admin": "uid:0", "retire_after": "1s"}}
                rotation = {"settle": "1s", "parallel": PARALLEL[kind]}
                late = proxies_of_its_own(request.getfixturevalue("aws_parts")) if kind == "dynamodb" else []
                made[kind] = stack.enter_context(running(kind, request, tmp_path_factory, webhook, rotation, policy, consumers=consumers(kind),
                                                         stores={LATE: {"endpoint": [proxy.url for proxy in late]}} if late else {}))
                made[kind].late = late
            made[kind].reset()
            made[kind].webhook.forget()
            return made[kind]

        yield launch


def number_of(fleet, key):
    """The version that is current, as the store has it."""
    done = fleet.cli("describe", "--json", key)
    assert done.returncode in (DONE, PARTIAL), done
    return json.loads(done.stdout)["keys"][0]["current"]


def six_changes(fleet, kind, asked_for=lambda: None):
    """asked_for() is called once all six were asked for."""
    count = CONSUMERS[kind]
    before = fleet.newest()
    fleet.hooks.behave("hold", "app-020")
    with Sampled(fleet.board, 0.1 if kind == "dynamodb" else 0.01) as sampled:
        *asked, waiting = [fleet.ask("rotate", key) for key in SIX[:-1]] + [fleet.ask("rotate", "--wait", SIX[-1])]
        for process in asked:
            told = process.communicate(timeout=60)[0]
            assert process.returncode == DONE, told
        asked_for()
        eventually(lambda: any(x.consumer == "app-020" for x in fleet.hooks.begun()), 100, "the run is at one that takes long")
        first = fleet.newest()
        fleet.rotate("seventh")  # which waits for that run's end
        assert len(fleet.board.documents("tickets")) == 1 and fleet.board.going() == [first]
        fleet.hooks.behave(None, "app-020")
        told = waiting.communicate(timeout=100)[0]
        assert waiting.returncode == DONE, told + fleet.logs()[-4000:]
        second = fleet.await_end(first)
    sampled.check()
    one = fleet.outcome(first)
    assert sampled.seen == [first, second.run] and first > before
    assert one.report["complete"] and one.report["state"] == "complete"
    assert (one.counts["consumers"], one.counts["ok"]) == (count, count)
    assert one.times() == {f"app-{n:03}": 1 for n in range(count) if n != 6}  # which gets a signal
    wanted = sorted(f"{key['id']}/{key['version']}" for key in one.report["keys"])
    assert [key.split("/")[0] for key in wanted] == SIX and all(sorted(x.keys) == wanted for x in one.hooks)
    versions = {key["id"]: key["version"] for key in one.report["keys"]}
    first_opened = fleet.first_opened({x.consumer: x.at for x in one.hooks})
    assert len(first_opened) >= (count - 1) * len(SIX) and all(version == versions.get(key, version) for (_, key), version in first_opened.items())
    assert {x.consumer: x.host for x in one.hooks}.items() <= one.hosts.items() and len(set(one.hosts.values())) == 4
    assert most_at_once(one.said) <= PARALLEL[kind]
    assert second.times() == {"other": 1} and second.report["complete"]
    assert second.hooks[0].at > max(x.at for x in one.said)
    assert [len(fleet.webhook.texts(run)) for run in (first, second.run)] == [1, 1] and len(fleet.webhook.bodies) == 2
    states = {run["run"]: run["state"] for run in fleet.listed()}
    assert states[first] == states[second.run] == "complete"


@pytest.fixture(scope="module")
def six_on_sqlite(fleet_of):
    """six_changes() of SQLite, whose hosts wait for the most part, beside those of etcd: a future. Nothing else is begun while its six are asked for, so that they
    come shortly after each other."""
    fleet_of("etcd")
    fleet, asked_for = fleet_of("sqlite"), threading.Event()

    def beside():
        fleet.board = fleet.board.again()  # its connection is a thread's
        try:
            six_changes(fleet, "sqlite", asked_for.set)
        finally:
            fleet.board = fleet.board.again()
            asked_for.set()

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(beside)
        asked_for.wait(60)
        yield future


@pytest.mark.parametrize("kind", KINDS)
def test_six_keys_changed_shortly_after_each_other_are_one_run_and_each_consumer_is_told_once(fleet_of, six_on_sqlite, kind):
    if kind == "sqlite":
        six_on_sqlite.result(timeout=110)
    else:
        six_changes(fleet_of(kind), kind)


def make_overdue(fleet, aws):
    """A rotation of `seventh` that cannot be done; afterwards it can. fleet.overdue: (its version, the key, the run that left it out)"""
    last, before, key = fleet.newest(), number_of(fleet, "seventh"), fleet.hosts[1].read("seventh")
    for region in aws.regions[1:]:
        region.kms.link("cut")
    try:
        fleet.rotate("seventh", codes=(FAILED,))
        eventually(lambda: any("overdue" in x for x in fleet.board.documents("tickets").values()), 60, "the rotation is overdue", every=0.05)
        outcome = fleet.await_end(last)
        assert [x["state"] for x in outcome.report["keys"]] == ["overdue"] and not outcome.hooks and outcome.report["keys"][0]["reason"]
        assert number_of(fleet, "seventh") == before and fleet.hosts[1].read("seventh") == key
        eventually(lambda: seen.status(fleet.holder())["rotation"]["overdue_keys"] == ["seventh"], 60, "the status tells it", every=0.1)
    finally:
        aws.heal()
    fleet.overdue = before, key, outcome.run


def test_with_two_of_three_regions_out_the_old_version_stays_current(fleet_of, request):
    make_overdue(fleet_of("dynamodb"), request.getfixturevalue("aws_parts"))


def test_one_of_65_that_fails_is_told_by_name_and_done_again_alone(fleet_of):
    fleet = fleet_of("etcd")
    fleet.hooks.behave("fail", "app-050")
    outcome = fleet.run("rotate", "--wait", "pair", code=PARTIAL)
    assert (outcome.counts["consumers"], outcome.counts["ok"], outcome.counts["failed"]) == (HALF, HALF - 1, 1)
    assert outcome.of("failed") == ["app-050"] and outcome.report["state"] == "in part"
    assert "exited with code 7" in outcome.reasons["app-050"]
    assert len(outcome.hooks) == HALF - 1  # one gets a signal
    message, = fleet.webhook.texts()
    assert "app-050" in message and outcome.hosts["app-050"] in message and "exited with code 7" in message and outcome.run in message
    shown = fleet.cli("rotation", "show", outcome.run)
    assert shown.returncode == PARTIAL and "app-050" in shown.stdout and "app-049" not in shown.stdout, shown

    again = fleet.run("rotation", "retry", "--wait", outcome.run, code=PARTIAL)
    assert again.run == outcome.run and [x.consumer for x in again.hooks[len(outcome.hooks):]] == ["app-050"]
    assert again.of("failed") == ["app-050"]
    assert fleet.cli("rotation", "done", outcome.run, "app-050").returncode == DONE
    done = fleet.outcome(outcome.run)
    assert done.report["complete"] and done.of("done") == ["app-050"]
    nothing = fleet.cli("rotation", "retry", outcome.run)
    assert nothing.returncode == DONE and "nothing" in nothing.stdout, nothing
    assert fleet.cli("rotation", "show", outcome.run).returncode == DONE
    assert len(fleet.hooks.begun(outcome.run)) == len(again.hooks) and fleet.newest() == outcome.run


def test_a_hook_that_hangs_is_killed_with_its_children_at_its_timeout_and_the_next_begins(fleet_of):
    fleet = fleet_of("etcd")
    fleet.hooks.behave("hang", "app-003")
    waiting = fleet.ask("rotate", "--wait", "few")
    child = eventually(lambda: next((x for x in fleet.hooks.said() if x.what.startswith("child ")), None), 60, "the hook that hangs")
    ended = await_gone([child.pid, *map(int, child.what.split()[1:])])  # one has left its session
    assert 1 <= ended - child.at <= 3, f"killed after {ended - child.at:.2f} s of 2"
    told = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == PARTIAL, told
    outcome = fleet.outcome(child.run)
    assert outcome.of("failed") == ["app-003"] and outcome.counts["ok"] == FEW - 1
    assert outcome.states["app-006"] == "ok" and "app-006" not in outcome.times(), "by a signal"
    assert "did not end in time, and was killed" in outcome.reasons["app-003"]
    after = [x.at for x in outcome.hooks if x.at > child.at]
    assert all(at >= ended - 0.1 for at in after), "no other hook before its end"


def test_a_hook_that_ends_well_without_the_consumer_opening_the_new_version_is_a_failure(fleet_of):
    fleet = fleet_of("etcd")
    fleet.hooks.behave("deaf", "app-004")
    outcome = fleet.run("rotate", "--wait", "few", code=PARTIAL)
    version = outcome.report["keys"][0]["version"]
    assert outcome.of("failed") == ["app-004"] and outcome.counts["ok"] == FEW - 1
    assert f"not opened few/{version}" in outcome.reasons["app-004"] and str(fleet.pid_of("app-004")) in outcome.reasons["app-004"]


def test_after_five_failures_in_a_row_nobody_else_is_told(fleet_of):
    fleet = fleet_of("etcd")
    before = number_of(fleet, "some")
    fleet.hooks.behave("fail")
    outcome = fleet.run("rotate", "--wait", "some", code=PARTIAL)
    assert outcome.report["state"] == "stopped" and "5 consumers failed in a row" in outcome.report["stopped"]
    told = outcome.of("ok", "failed")
    assert outcome.counts["failed"] == len(told) == len(outcome.hooks) == 5
    assert outcome.counts["not_tried"] == len(SOME) - 5
    stopping, ended = fleet.webhook.texts(outcome.run)
    assert "is being stopped" in stopping and "*stopped*" in ended and "not tried" in ended
    assert len(fleet.hosts[1].read(f".keyfs/versions/some/{before}")) == 32
    fleet.hooks.all_well()
    again = fleet.run("rotation", "retry", "--wait", outcome.run)
    assert again.report["complete"]
    assert sorted(x.consumer for x in again.hooks[len(outcome.hooks):]) == outcome.of("failed", "not tried")


def test_old_versions_are_retired_once_every_consumer_has_the_new_one_and_not_before(fleet_of):
    fleet = fleet_of("etcd")
    before = number_of(fleet, "soon")
    old = f".keyfs/versions/soon/{before}"
    fleet.hooks.behave("fail", "app-001")
    outcome = fleet.run("rotate", "--wait", "soon", code=PARTIAL)
    time.sleep(2)  # twice retire_after, in which nothing is to happen
    assert len(fleet.hosts[1].read(old)) == 32
    fleet.hooks.all_well()
    assert fleet.run("rotation", "retry", "--wait", outcome.run).report["complete"]
    for host in fleet.hosts:
        eventually(lambda x=host: seen.error_name(x.read, old) == "EKEYREVOKED", 30, f"{host.name} refuses the old version")
    assert len(fleet.hosts[1].read(f".keyfs/versions/soon/{before + 1}")) == 32


def test_a_consumer_whose_process_has_ended_gets_no_signal_and_is_gone(fleet_of):
    fleet = fleet_of("etcd")
    fleet.end_consumer("app-006")
    outcome = fleet.run("rotate", "--wait", "few")
    assert outcome.of("gone") == ["app-006"] and outcome.counts["ok"] == FEW - 1 and outcome.report["complete"]


def test_a_rotation_that_was_overdue_is_done_by_itself_once_the_regions_return(fleet_of, request):
    """That of the test with two of three regions out: it is tried again after half a minute, while others run."""
    fleet = fleet_of("dynamodb")
    if not fleet.overdue:
        make_overdue(fleet, request.getfixturevalue("aws_parts"))
    before, key, run = fleet.overdue
    done = fleet.await_end(run)
    assert done.counts["ok"] == done.counts["consumers"] > 0 and number_of(fleet, "seventh") == before + 1
    assert set(done.times().values()) == {1}
    assert fleet.hosts[1].read("seventh") != key


@pytest.fixture(scope="module")
def timed(request, tmp_path_factory):
    """Twenty keys that are rotated by themselves, on a fleet of their own, beside tests that wait for the most part: a future of ({key: when its versions came}, the
    calls of the regions, in how many seconds, a key of the last run)."""
    keys = [f"timed-{n:02}" for n in range(20)]
    policy = {"timed-*": {"read": "any", "create": "uid:0", "admin": "uid:0", "rotate_every": f"{PERIOD}s"}}

    def look_on(fleet):
        begin, calls, changes = time.monotonic(), sum(map(seen.region_calls, fleet.hosts)), {}
        for key in keys:
            fleet.hosts[1].read(key)
            changes[key] = [time.monotonic()]

        def rotated():
            for key in keys:
                if int(os.readlink(fleet.hosts[1].path(f".keyfs/versions/{key}/current"))) == len(changes[key]) + 1:
                    changes[key].append(time.monotonic())
            return min(map(len, changes.values())) > PERIODS

        eventually(rotated, (PERIODS + 1) * PERIOD + 5, "each key was rotated", every=0.05)
        made = sum(map(seen.region_calls, fleet.hosts)) - calls
        return changes, made, time.monotonic() - begin, fleet.report(fleet.newest())["keys"][0]["id"]

    with running("etcd", request, tmp_path_factory, rotation={"settle": "0s"}, policy=policy, keyfs={"background_calls_per_second": RATE}, hosts=2) as fleet:
        with ThreadPoolExecutor(1) as thread:
            yield thread.submit(look_on, fleet)


def test_hooks_wait_until_their_own_host_serves_the_new_version(fleet_of, timed):
    """For one host the records are held back, for five seconds."""
    fleet = fleet_of("dynamodb")
    those = {x.name for x in fleet.consumers.values() if x.host == LATE and "few" in x.keys}
    table = fleet.board.table
    for proxy in fleet.late:
        proxy.fault("hang", about=f'"{table}"')
    try:
        last = fleet.newest()
        waiting = fleet.ask("rotate", "--wait", "few")

        def ordered():
            rows = [row for sheet in fleet.board.documents("rows").values() if fleet.hosts[LATE].name in sheet["host"] and sheet["run"] > last for row in sheet["rows"]]
            return any(row["state"] == "ordered" for row in rows)

        eventually(ordered, 60, "the host is to tell one of its consumers")
        time.sleep(5)  # in which it does not
        run = fleet.newest()
        assert run > last and not those & {x.consumer for x in fleet.hooks.begun(run)} and ordered()
    finally:
        for proxy in fleet.late:
            proxy.clear()
    told = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == DONE, told + fleet.logs()[-4000:]
    outcome = fleet.outcome(run)
    assert outcome.report["complete"] and outcome.counts["ok"] == FEW
    version = outcome.report["keys"][0]["version"]
    opened = fleet.first_opened({x.consumer: x.at for x in outcome.hooks})
    assert {consumer: number for (consumer, key), number in opened.items() if key == "few"} == {x.consumer: version for x in outcome.hooks} and those <= set(outcome.times())


def test_with_one_of_three_regions_out_keys_are_rotated_and_the_gap_is_told(fleet_of, request):
    fleet, aws = fleet_of("dynamodb"), request.getfixturevalue("aws_parts")
    aws.regions[2].kms.link("cut")
    try:
        outcome = fleet.run("rotate", "--wait", "seventh", code=PARTIAL)
    finally:
        aws.heal()
    key, = outcome.report["keys"]
    assert (key["state"], key["missing"]) == ("current", [aws.regions[2].name])
    assert outcome.report["state"] == "in part" and outcome.counts["ok"] == outcome.counts["consumers"] > 0
    message, = fleet.webhook.texts()
    assert aws.regions[2].name in message


@pytest.mark.timeout(120 + IDLE_SECONDS)
def test_hosts_with_nothing_to_do_look_at_the_pulse_once_per_poll_every_and_nobody_lists_keys(fleet_of, request, tmp_path_factory):
    """Four hosts, each second; KEYFS_TEST_IDLE_SECONDS=600: twenty, each 30 seconds."""
    aws = request.getfixturevalue("aws_parts")
    if IDLE_SECONDS:
        with running("dynamodb", request, tmp_path_factory, rotation={"poll_every": "30s"}, hosts=20) as fleet:
            check_idle(aws, fleet, 30, IDLE_SECONDS)
    else:
        check_idle(aws, fleet_of("dynamodb"), 1, 6)


def check_idle(aws, fleet, poll_every, seconds):
    tables = [region.dynamodb for region in aws.regions] + fleet.late
    counted = {proxy: proxy.fault("delay", seconds=0, op="GetItem", about='"pulse-0"') for proxy in tables}
    for proxy in tables:
        proxy.reset_stats()
    time.sleep(seconds)  # in which nothing happens
    looks = sum(fault["hits"] for proxy in tables for fault in proxy.faults() if fault["id"] == counted[proxy])
    for proxy, fault in counted.items():
        proxy.clear(fault)
    wanted = len(fleet.hosts) * seconds / poll_every
    assert 0.8 * wanted <= looks <= 1.2 * wanted, f"{looks} looks at the pulse, {wanted:.0f} wanted"
    assert sum(proxy.calls("Scan") for proxy in tables) == 0


@pytest.mark.timeout(120 + PERIOD * PERIODS)
def test_each_key_is_rotated_once_per_period_within_a_tenth_and_at_the_pace_of_background_work(timed):
    changes, calls, seconds, told = timed.result(timeout=100 + PERIOD * PERIODS)
    for key, times in changes.items():
        assert len(times) > PERIODS, (key, times)
        for earlier, later in zip(times, times[1:]):
            assert 0.9 * PERIOD - 1 <= later - earlier <= 1.1 * PERIOD, (key, times)
    assert calls <= RATE * seconds
    assert told in changes


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_on_the_board_nor_in_a_report_a_log_or_a_message(fleet_of, kind):
    fleet = fleet_of(kind)
    if not fleet.newest():
        fleet.run("rotate", "--wait", "few", *SIX)
    shown = [(how, run) for run in fleet.board.runs() for how in ("--all", "--json")]
    with ThreadPoolExecutor(4) as threads:
        reports = list(threads.map(lambda words: fleet.cli("rotation", "show", *words).stdout.encode(), shown))
    needles = {}
    for key in ["few", *SIX]:
        for number in range(1, number_of(fleet, key) + 1):
            needles[f"{key}/{number}"] = fleet.hosts[0].read(f".keyfs/versions/{key}/{number}")
    assert len(needles) > len(SIX) + 1 and all(len(needle) == 32 for needle in needles.values())
    places = {"board": fleet.board.everything(), "hooks": fleet.hooks.text(), "messages": b"\n".join(fleet.webhook.all), "logs": fleet.logs().encode(),
              "reports": b"\n".join(reports)}
    assert all(SIX[0].encode() in text for name, text in places.items() if name != "logs"), {name: len(text) for name, text in places.items()}
    assert fleet.webhook.url.rsplit("/", 1)[1].encode() not in places["logs"] + places["board"] + places["reports"]
    hits = [str(hit) for name, text in places.items() for hit in Search(needles).pieces([(0, text)], name)]
    hits += [str(hit) for host in fleet.hosts for hit in scan_tree(host.state_dir, needles)]
    assert not hits, hits[:5]

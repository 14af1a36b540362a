"""Rotation while hosts are killed, stopped, start at once or lag behind: nobody is told twice, and nobody before their host serves the new version."""
import contextlib
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import seen
from rotation_fleets import made, store_of
from support.boards import Sampled, SqliteBoard
from support.cli import DONE, PARTIAL
from support.daemon import Daemon, local_sections
from support.process import eventually, stop
from support.rotation import Fleet, consumers_of
from support.users import walkable
from support.webhook import Webhook

# How often ten hosts are started at once; the long way is 50.
STARTS = int(os.environ.get("KEYFS_TEST_ROTATION_STARTS", "3"))
# How long a runner is stopped, at least: until another has ended its run.
STOPPED = float(os.environ.get("KEYFS_TEST_ROTATION_STOPPED", "0"))
MANY, AT = 65, 30


def begun(fleet, run):
    return len(fleet.hooks.begun(run))


def consumers():
    """Of three hosts: the first one only runs rotations."""
    return consumers_of(MANY, range(1, 4), lambda n: ["orders", "few"] if n < 3 else ["orders"])


class Interrupted:
    """A fleet whose runner is silent from consumer 30 on."""

    def __init__(self, fleet):
        self.fleet, self.before = fleet, fleet.newest()
        fleet.hooks.behave("slow")
        fleet.rotate("orders")

    def silence(self, how):
        fleet = self.fleet
        self.run = eventually(lambda: fleet.newest() > self.before and fleet.newest(), 60, "a run")
        eventually(lambda: begun(fleet, self.run) >= AT, 60, f"consumer {AT}")
        fleet.hosts[0].process.send_signal(how)
        self.at = time.monotonic()
        fleet.hooks.behave(None)
        return self

    def goes_on(self):
        head = self.fleet.board.document("run", "head")
        return self.fleet.hosts[0].name not in head["holder"] and self.fleet.board.documents("runs")[self.run]["holder"] == head["holder"]


@pytest.fixture(scope="module")
def interrupted(request, tmp_path_factory):
    """Two fleets with one run each, whose runner is killed in one and stopped in the other, at the same time: a future of {how: (Interrupted, the run's Outcome,
    after how many seconds another host went on, Sampled)}. It takes half a minute until others go on, in which there is time for another test; until it is done, the
    boards of these fleets are its own."""
    with contextlib.ExitStack() as stack:
        # Until the end: a daemon dies with the thread that has started it.
        threads = stack.enter_context(ThreadPoolExecutor(2))
        fleets = {}
        for how in (signal.SIGKILL, signal.SIGSTOP):
            webhook = stack.enter_context(Webhook())
            fleets[how] = made("etcd", request, tmp_path_factory, webhook, {"settle": "200ms"}, consumers=consumers(), hosts=4, asked=2, patient=False)
        list(threads.map(stack.enter_context, fleets.values()))
        for fleet in fleets.values():
            fleet.await_known()
        sampled = {how: stack.enter_context(Sampled(fleet.board)) for how, fleet in fleets.items()}
        cases = {how: Interrupted(fleet).silence(how) for how, fleet in fleets.items()}

        def follow():
            went_on = {}

            def all_go_on():
                for how, case in cases.items():
                    if how not in went_on and case.goes_on():
                        went_on[how] = time.monotonic() - case.at
                return len(went_on) == len(cases)

            eventually(all_go_on, 60, "other hosts go on")
            # Of what happens once the stopped one goes on there is more to see while the run is not over.
            ended = {how: case.fleet.await_end(case.before) for how, case in cases.items()}
            stopped = cases[signal.SIGSTOP]
            eventually(lambda: time.monotonic() > stopped.at + STOPPED, STOPPED + 20, "it was stopped for long enough")
            stopped.fleet.hosts[0].process.send_signal(signal.SIGCONT)
            return {how: (case, ended[how], went_on[how], sampled[how]) for how, case in cases.items()}

        yield stack.enter_context(ThreadPoolExecutor(1)).submit(follow)


@pytest.fixture(scope="module")
def silenced(interrupted):
    return interrupted.result(timeout=100 + STOPPED)


@pytest.mark.timeout(120 + 20 * STARTS)
def test_ten_daemons_started_at_once_with_one_ticket_make_one_run(request, tmp_path_factory, interrupted):
    for attempt in range(STARTS):
        folder = walkable(tmp_path_factory.mktemp(f"start{attempt}"))
        board, sections, env = store_of("sqlite", request, folder)
        rotation = {"settle": "100ms", "poll_every": "1s"}
        fleet = Fleet(folder, board, {**sections, **seen.ADMIN}, env, hosts=10, rotation=rotation, keys=["orders"])
        try:
            assert fleet.cli("create", "orders").returncode == DONE
            fleet.rotate("orders")
            ticket, = board.documents("tickets").values()
            with Sampled(board) as sampled:
                for host in fleet.hosts:
                    host.launch()
                for host in fleet.hosts:
                    host.await_up()
                outcome = fleet.await_end("")
                eventually(fleet.quiet, 20, "there is nothing more to do")
            sampled.check()
            # Nobody is to be told, so that it may be over between two looks.
            assert list(board.runs()) == [outcome.run] and set(sampled.seen) <= {outcome.run} and outcome.report["complete"]
            assert [(x["id"], x["version"]) for x in outcome.report["keys"]] == [("orders", 2)]
            assert board.documents("runs")[outcome.run]["keys"][0]["token"] == ticket["token"]
            assert seen.records(board.path)["orders"]["current"] == 2
        finally:
            fleet.close()
        fleet.check_ends()


@pytest.mark.timeout(120 + STOPPED)
def test_when_the_runner_is_killed_another_host_goes_on_within_40_seconds(silenced):
    case, outcome, after, sampled = silenced[signal.SIGKILL]
    assert after <= 40, f"{after:.1f} s"
    assert outcome.run == case.run and outcome.report["complete"], outcome.counts
    assert outcome.times() == {f"app-{n:03}": 1 for n in range(MANY)}
    first, = outcome.report["takeovers"]
    assert first.startswith(case.fleet.hosts[0].name)
    taken_over, ended = case.fleet.webhook.texts(case.run)
    assert "was taken over" in taken_over and "complete" in ended
    sampled.check()


@pytest.mark.timeout(120 + STOPPED)
def test_a_runner_that_was_stopped_writes_nothing_more_and_nobody_is_told_twice(silenced):
    case, outcome, after, sampled = silenced[signal.SIGSTOP]
    fleet, late = case.fleet, case.fleet.hosts[0]
    assert after <= 40, f"{after:.1f} s"
    eventually(lambda: "another host runs rotations now" in late.log() or "stops acting" in late.log(), 30, "it has noticed")
    holder, now = fleet.holder(), fleet.board.document("run", "now")
    assert holder is not late and now["run"] == ""
    # It is a host like the others: it hears of the next run.
    second = fleet.run("rotate", "--wait", "few")
    assert second.run > case.run and second.report["complete"] and set(second.times().values()) == {1}
    assert holder.name in second.report["holder"] and not second.report["takeovers"]
    first = fleet.outcome(case.run)
    assert first.times() == {f"app-{n:03}": 1 for n in range(MANY)} and first.report == outcome.report
    assert len(fleet.webhook.texts(case.run)) == 2 and len(fleet.webhook.texts(second.run)) == 1
    sampled.check()


def test_a_daemon_killed_during_its_consumers_hook_is_told_as_interrupted_and_the_hook_is_not_repeated(silenced):
    fleet = silenced[signal.SIGSTOP][0].fleet
    fleet.reset()
    # Not the one that runs rotations: what that one's end means is another test.
    n, name = next((n, f"app-{n - 1:03}") for n in (1, 3) if fleet.hosts[n] is not fleet.holder())
    fleet.hooks.behave("hold", name)
    last = fleet.newest()
    waiting = fleet.ask("rotate", "--wait", "few")
    hook = eventually(lambda: next((x for x in fleet.hooks.begun() if x.consumer == name and x.run > last), None), 60, "its hook")
    fleet.hosts[n].kill()
    fleet.hooks.behave(None, name)
    fleet.hosts[n].start()
    told = waiting.communicate(timeout=100)[0]
    assert waiting.returncode == PARTIAL, told
    outcome = fleet.outcome(hook.run)
    assert outcome.of("failed") == [name] and outcome.reasons[name].startswith("interrupted")
    assert outcome.times() == {f"app-{n:03}": 1 for n in range(3)} and outcome.counts["ok"] == 2
    again = fleet.run("rotation", "retry", "--wait", hook.run)
    assert again.report["complete"] and again.times() == {**outcome.times(), name: 2}


def test_a_mount_that_was_taken_away_in_use_leaves_its_programs_to_the_one_that_follows(folder, request):
    sections = {**local_sections(folder / "parts"), **seen.ADMIN, "rotation": {"settle": "200ms", "poll_every": "1s"}}
    board = SqliteBoard(sections["store"]["path"])
    app = {"match": "uid:0", "refresh": "exec:/bin/true", "confirm": "exit", "timeout": "10s"}
    runner = Daemon(folder, sections, name="runner")
    web = Daemon(folder, {**sections, "rotation": {**sections["rotation"], "run": "no"}, "consumer app": app}, name="web")
    written = os.path.join(web.state_dir, "consumers.json")

    def rotate():
        begin = time.monotonic()
        done = runner.cli("rotate", "--wait", "orders", timeout=115)
        assert done.returncode == DONE, f"{done}\n{web.log()[-3000:]}"
        return time.monotonic() - begin

    with runner, web:
        with open(web.path("orders"), "rb") as f:
            f.read()
            eventually(lambda: board.documents("hosts"), 30, "the host is listed")
            eventually(lambda: os.path.exists(written) and "orders" in open(written).read(), 30, "who uses the key is written down")
            before = set(board.documents("hosts"))
            old, web.process = web.process, None
            request.addfinalizer(lambda: stop(old))
            subprocess.run(["umount", "-l", web.mount], check=True)
            web.start()
            web.logged(f"pid={old.pid}")
            assert old.poll() is None
            rotate()
            assert set(board.documents("hosts")) == before and "copy of this one's state_dir" not in web.log()
        eventually(lambda: old.poll() is not None, 30, "the old one ends with the last file")
        assert old.returncode == 0
        assert rotate() < 60, "nobody waits for it"
        assert set(board.documents("hosts")) == before

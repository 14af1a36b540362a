"""Rotation over many hosts, on one machine: daemons on one store, each a host with a name, a state_dir and consumers of its own; the hooks that they run; and what
is asked of a run afterwards. Needs root."""
import collections
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from .daemon import Daemon
from .process import alive, eventually, python_env, spawn, stop

CONSUMER = os.path.join(os.path.dirname(__file__), "consumer.py")
FIRST_UID = 20_000  # of consumers: users without a name

# What keyfs runs. It notes its beginning and its end, and does what the file named after the consumer says, or the one named `default`; without either it tells
# the consumer, and ends well.
HOOK = r"""#!/bin/bash
folder='@FOLDER@'
say() { printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$EPOCHREALTIME" $$ "$KEYFS_RUN" "$KEYFS_CONSUMER" "$KEYFS_HOST" "$KEYFS_KEYS" >>"$folder/hooks"; }
how=well
for file in "$folder/how/$KEYFS_CONSUMER" "$folder/how/default"; do
  if [[ -e $file ]]; then how=$(<"$file"); break; fi
done
say begin
case $how in
  fail) say end; exit 7 ;;
  hang) sleep 1000 & children=$!; setsid sleep 1000 & say "child $children $!"; wait ;;
  hold) while [[ -e $file ]]; do sleep 0.01; done ;;
  slow) sleep 0.05 ;;
esac
[[ $how == deaf ]] || kill -HUP "$(<"$folder/pids/$KEYFS_CONSUMER")" || exit 1
say end
"""


@dataclass
class Consumer:
    """One [consumer NAME] section on one host, and the process that it means. refresh: None is the hook. section: all of its
    entries instead."""
    name: str
    host: int
    uid: int
    keys: list
    refresh: str = None
    confirm: str = "open"
    timeout: str = "10s"
    section: dict = None

    def entries(self, hook):
        return self.section or {"match": f"uid:{self.uid}", "refresh": self.refresh or f"exec:{hook}", "confirm": self.confirm, "timeout": self.timeout}


def consumers_of(count, hosts, keys, first=0):
    """app-000 to app-NNN, spread over these hosts. keys(n) -> those of consumer number n."""
    return [Consumer(f"app-{n:03}", hosts[n % len(hosts)], FIRST_UID + first + n, keys(n)) for n in range(count)]


@dataclass
class Said:
    """A line of a hook."""
    what: str  # begin, end, child PID PID
    at: float
    pid: int
    run: str
    consumer: str
    host: str
    keys: list


class Hooks:
    """The hook of all consumers, the files that say how it behaves, and what it has said."""

    def __init__(self, folder):
        self.folder = str(folder)
        for name in ("how", "pids"):
            os.makedirs(os.path.join(self.folder, name))
        self._log = os.path.join(self.folder, "hooks")
        open(self._log, "w").close()
        self.program = os.path.join(self.folder, "hook")
        with open(self.program, "w") as f:
            f.write(HOOK.replace("@FOLDER@", self.folder))
        os.chmod(self.program, 0o755)  # root's, and nobody else may write it

    def behave(self, how, *consumers):
        """fail, hang, hold (until it behaves well), slow, deaf (the consumer is not told); None: well. Without names: all others."""
        for name in consumers or ["default"]:
            path = os.path.join(self.folder, "how", name)
            if how is None:
                if os.path.exists(path):
                    os.unlink(path)
            else:
                with open(f"{path}.new", "w") as f:
                    f.write(how)
                os.rename(f"{path}.new", path)

    def all_well(self):
        for name in os.listdir(os.path.join(self.folder, "how")):
            self.behave(None, name)

    def said(self, run=None):
        """All lines so far, or those of a run."""
        with open(self._log) as f:
            lines = [line.rstrip("\n").split("\t") for line in f if line.endswith("\n")]
        said = [Said(what, float(at), int(pid), of, consumer, host, keys.split()) for what, at, pid, of, consumer, host, keys in lines]
        return [one for one in said if run in (None, one.run)]

    def begun(self, run=None):
        return [one for one in self.said(run) if one.what == "begin"]

    def text(self):
        with open(self._log, "rb") as f:
            return f.read()


def most_at_once(said):
    """How many hooks ran at the same time. One that was killed is not counted."""
    ended = {one.pid for one in said if one.what == "end"}
    steps = sorted((one.at, 1 if one.what == "begin" else -1) for one in said if one.what in ("begin", "end") and one.pid in ended)
    running = most = 0
    for _, step in steps:
        running += step
        most = max(most, running)
    return most


class Host(Daemon):
    """A daemon whose machine has the name `name`."""

    def argv(self):
        return ["unshare", "--uts", "sh", "-c", 'echo "$0" >/proc/sys/kernel/hostname && exec "$@"', self.name, *super().argv()]


class Fleet:
    """Running hosts on one store. The first one runs rotations until it is silent. A context manager.

    board: boards.Board of the store. sections: the common configuration, env: the daemons' environment. rotation: entries of [rotation]. keys: further ones, which no
    consumer has. own(n): more sections of host n. asked: on which host commands are given.
    patient: it is entered once its consumers are known to all."""

    def __init__(self, folder, board, sections, env=None, hosts=4, consumers=(), rotation=None, keys=(), own=lambda n: {}, asked=0, patient=True):
        self.folder, self.board, self.consumers = str(folder), board, {x.name: x for x in consumers}
        self.hooks = Hooks(os.path.join(self.folder, "hooks"))
        self.keys = sorted({key for x in consumers for key in x.keys} | set(keys))
        self._asked, self._patient = asked, patient
        self._processes, self._opened = {}, os.path.join(self.folder, "opened")
        self.hosts = [self._host(n, {**sections, "rotation": rotation or {}, **own(n)}, env) for n in range(hosts)]

    def _host(self, n, sections, env):
        name = f"web-{n}"
        for x in self.consumers.values():
            if x.host == n:
                sections[f"consumer {x.name}"] = x.entries(self.hooks.program)
        return Host(self.folder, sections, name=name, env=env)

    # -- starting and ending

    def start(self):
        self.hosts[0].start()
        for key in self.keys:
            self.hosts[0].read(key)
        eventually(lambda: self.holder() is self.hosts[0], 30, "the first host runs rotations")
        for host in self.hosts[1:]:
            host.launch()
        for host in self.hosts[1:]:
            host.await_up()
        for n in range(len(self.hosts)):
            self.start_consumers(n)
        if self._patient:
            self.await_known()
        return self

    def await_known(self):
        """A run waits for those hosts with consumers that are listed on the board."""
        eventually(self.known, 60, "all hosts with consumers are listed on the board", every=0.05)

    def start_consumers(self, n):
        those = [{"name": x.name, "uid": x.uid, "keys": x.keys} for x in self.consumers.values() if x.host == n]
        if not those:
            return
        with open(os.path.join(self.folder, f"consumers-{n}.log"), "ab") as log:
            process = spawn([sys.executable, CONSUMER, self.hosts[n].mount, os.path.join(self.hooks.folder, "pids"), self._opened], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=log, text=True, env=python_env())
        self._processes[n] = process
        process.stdin.write(json.dumps(those) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        assert said == "ready\n", f"consumers of {self.hosts[n].name}: {said}"

    def first_opened(self, since):
        """{(consumer, key): the version that it got when it first opened it at or after since[consumer]} (wall time)"""
        found = {}
        with open(self._opened) as f:
            for line in f:
                at, consumer, key, version = line.split("\t")
                if consumer in since and float(at) >= since[consumer]:
                    found.setdefault((consumer, key), int(version))
        return found

    def pid_of(self, consumer):
        with open(os.path.join(self.hooks.folder, "pids", consumer)) as f:
            return int(f.read())

    def end_consumer(self, name):
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid))

    def known(self):
        """Whether each host with consumers is on the board with all their keys."""
        listed = {document["host"]: set(document.get("keys", [])) for document in self.board.documents("hosts").values()}
        for n, host in enumerate(self.hosts):
            keys = {key for x in self.consumers.values() if x.host == n for key in x.keys}
            if keys and not any(host.name in name and keys <= of for name, of in listed.items()):
                return False
        return True

    def close(self):
        for process in self._processes.values():
            stop(process)
        for host in self.hosts:
            if host.alive():
                host.process.send_signal(signal.SIGCONT)
                host.process.send_signal(signal.SIGTERM)
        for host in self.hosts:
            host.close()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind, *_):
        self.close()
        self.check_ends(kind)

    def check_ends(self, failed=None):
        """All hosts have ended well, or by SIGKILL."""
        badly = [x for x in self.hosts if x.was_up and x.process.returncode not in (0, -signal.SIGKILL)]
        assert failed or not badly, [f"{x.name} ended with {x.process.returncode}: {x.log()[-3000:]}" for x in badly]

    # -- asking

    def holder(self):
        """The host that runs rotations, as the board has it."""
        head = self.board.document("run", "head")
        return next((x for x in self.hosts if head and x.name in head["holder"]), None)

    def newest(self):
        """The newest run, "" if there was none."""
        return max(self.board.runs(), default="")

    def going(self):
        """The run that goes on, "" if none does."""
        return (self.board.document("run", "now") or {"run": ""})["run"]

    def quiet(self):
        """No run goes on, none will by itself, and the messages about the last ones were sent."""
        waiting = [x for x in self.board.documents("tickets").values() if "overdue" not in x]
        return not waiting and self.over()

    def over(self):
        """No run goes on, and the messages about the last ones were sent."""
        return not self.going() and all(run["notify"] != "sending" for run in self.board.runs().values())

    def reset(self):
        """For the next test."""
        self.hooks.all_well()
        self._eventually(self.quiet, 60, "no run goes on, or will")

    def report(self, run=None):
        done = self.cli("rotation", "show", *([run] if run else []), "--json")
        assert done.stdout, done
        return json.loads(done.stdout)

    def listed(self):
        """What `keyfs rotation list` knows."""
        done = self.cli("rotation", "list", "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)["runs"]

    def _eventually(self, check, timeout, what):
        """A failure tells what is on the board."""
        try:
            eventually(check, timeout, what, every=0.05)
        except AssertionError as e:
            board = "\n".join(f"{part}: {self.board.texts(part)}" for part in ("run", "tickets", "runs", "rows"))
            raise AssertionError(f"{e}\n{board[-6000:]}\n{self.logs()[-6000:]}") from None

    def logs(self):
        return "\n".join(x.log() for x in self.hosts)

    # -- doing

    @property
    def asked(self):
        return self.hosts[self._asked]

    def _argv(self, words):
        """`keyfs rotation` has commands of its own, after which its options stand."""
        command = words[:2] if words[0] == "rotation" else words[:1]
        return [self.asked.program, *command, *self.asked.source, *map(str, words[len(command):])]

    def ask(self, *words):
        """`keyfs WORDS`, started: a process, which the caller waits for."""
        return spawn(self._argv(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.asked.env)

    def cli(self, *words, timeout=60):
        """`keyfs WORDS` to its end: CompletedProcess with text."""
        return subprocess.run(self._argv(words), capture_output=True, text=True, timeout=timeout, env=self.asked.env, stdin=subprocess.DEVNULL)

    def rotate(self, *ids, codes=(0,)):
        """Asks for new versions; the run comes later."""
        done = self.cli("rotate", *ids)
        assert done.returncode in codes, done

    def run(self, *words, code=0):
        """`keyfs WORDS`, which follows a run to its end: its Outcome."""
        done = self.cli(*words, timeout=115)
        assert done.returncode == code, f"{done}\n{self.logs()[-6000:]}"
        eventually(self.over, 60, "what follows a run's end is done")
        return self.outcome(self.newest())

    def outcome(self, run):
        return Outcome(run, self.report(run), self.hooks.said(run))

    def await_end(self, after, timeout=100):
        """Of the run that follows the run `after`."""
        self._eventually(lambda: self.newest() > after and self.over(), timeout, f"a run after {after!r} ends")
        return self.outcome(self.newest())


class Outcome:
    """What became of a run. states: {consumer: its state}, reasons: {consumer: why}, hooks: [of each hook that was begun, in that order]"""

    def __init__(self, run, report, said):
        self.run, self.report, self.said = run, report, said
        self.counts = report["counts"]
        self.states = {x["consumer"]: x["state"] for x in report["consumers"]}
        self.reasons = {x["consumer"]: x["reason"] for x in report["consumers"] if x["reason"]}
        self.hooks = [one for one in said if one.what == "begin"]
        self.hosts = {x["consumer"]: x["host"] for x in report["consumers"]}

    def times(self):
        """{consumer: how often its hook was begun}"""
        return dict(collections.Counter(one.consumer for one in self.hooks))

    def of(self, *states):
        return sorted(name for name, state in self.states.items() if state in states)


def await_gone(pids, timeout=20):
    """When the last of these processes was seen to have ended (wall time, as hooks note it)."""
    eventually(lambda: not any(map(alive, pids)), timeout, "they have ended", every=0.005)
    return time.time()

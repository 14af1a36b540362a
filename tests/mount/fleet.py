"""Daemons on one store of any kind, each a host with a state_dir of its own, and what is asked of all of them."""
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
import time
import uuid

import seen
from aws import cloud
from support import daemon as d
from support.cli import DONE, PARTIAL
from support.process import eventually, spawn, stop
from version_reader import KEYFS_IOC_VERSION

# fresh_for of the daemons, and within how many seconds all of them serve what was changed: DynamoDB is asked again by the first read after fresh_for, the
# others announce it.
PROMISED = {"sqlite": ("5m", 2), "dynamodb": ("1s", 2), "etcd": ("5m", 1)}
READER = os.path.join(os.path.dirname(__file__), "version_reader.py")


def sections_of(kind, request, folder, **keyfs):
    """(the configuration, the environment) of daemons that share a new store of that kind. Beyond a single test, the servers are not healed for it."""
    parts = "" if request.scope == "function" else "_parts"
    name = f"keyfs-{uuid.uuid4().hex[:8]}"
    if kind == "dynamodb":
        aws = request.getfixturevalue(f"aws{parts}")
        aws.regions[0].make_table(name)
        return cloud.sections(aws, name, **keyfs), {**cloud.CREDENTIALS, "AWS_CA_BUNDLE": aws.ca.ca_file}
    sections = {**d.local_sections(folder / "parts", **keyfs), **seen.ADMIN}
    if kind == "etcd":
        sections["store"] = {**d.etcd_store(request.getfixturevalue(f"etcd{parts}"))["store"], "prefix": f"/{name}"}
    return sections, None


class Fleet:
    def __init__(self, kind, daemons):
        self.kind, self.daemons, self.bound = kind, daemons, PROMISED[kind][1]
        if kind == "etcd":
            for daemon in daemons:
                eventually(lambda x=daemon: seen.status(x)["cache"]["watching"], 20, "a live watch")

    def command(self, name, *args, codes=(DONE,)):
        """On the first host: what it tells of its key."""
        done = self.daemons[0].cli(name, "--json", *args)
        assert done.returncode in codes, done
        return json.loads(done.stdout)["keys"][0]

    def at_once(self, *commands):
        """commands: (host, words...), all started before any is waited for. What each ended with: [(code, what it printed)]."""
        started = []
        for host, *words in commands:
            daemon = self.daemons[host]
            argv = [daemon.program, words[0], *daemon.source, *words[1:]]
            started.append(spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=daemon.env))
        ended = [process.communicate(timeout=60)[0] for process in started]
        return [(process.returncode, text) for process, text in zip(started, ended)]

    def rotate(self, ident="orders"):
        """The number of the new version. A busy machine may leave a region to the healer."""
        told = self.command("rotate", ident, codes=(DONE, PARTIAL))
        assert told["current"] == told["version"], told
        return told["version"]

    def each(self, path):
        """What each daemon gives under that name."""
        return [daemon.read(path) for daemon in self.daemons]

    def errors(self, path):
        return [seen.error_name(daemon.read, path) for daemon in self.daemons]

    def one(self, path):
        """What all daemons give alike."""
        found = set(self.each(path))
        assert len(found) == 1, f"{len(found)} keys under {path}"
        return found.pop()

    def await_version(self, number, ident="orders"):
        for daemon in self.daemons:
            eventually(lambda x=daemon: version_at(x.path(ident)) == number, what=f"{daemon.name} serves version {number}")


def version_at(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return struct.unpack("=I", fcntl.ioctl(fd, KEYFS_IOC_VERSION, bytes(4)))[0]
    finally:
        os.close(fd)


class Watched:
    """Asks each daemon the same, all the time, on a thread each: `ask(daemon)`. changes[name]: [(when, the answer that differs from the one before)]."""

    def __init__(self, daemons, ask):
        self.changes, self.failed = {daemon.name: [] for daemon in daemons}, []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(daemon, ask)) for daemon in daemons]

    def _watch(self, daemon, ask):
        changes = self.changes[daemon.name]
        try:
            while not self._ended.wait(0.005):
                answer = ask(daemon)
                if not changes or changes[-1][1] != answer:
                    changes.append((time.monotonic(), answer))
        except Exception as e:  # shown by the test's own thread
            self.failed.append(e)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.failed or all(self.changes.values()), what="all are asked")
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def answers(self, name):
        return [answer for _, answer in self.changes[name]]

    def await_all(self, answer, since):
        """{name: how long after `since` it answered so for the first time}"""
        eventually(lambda: self.failed or all(answer in self.answers(name) for name in self.changes), 20, f"all answer {answer}")
        assert not self.failed, self.failed
        return {name: next(when for when, what in all if what == answer) - since for name, all in self.changes.items()}


class Readers:
    """A version_reader.py for each daemon. Ended by results(), which are theirs."""

    def __init__(self, daemons, least, ident="orders"):
        argv = [sys.executable, READER]
        self._processes = [spawn([*argv, x.mount, ident, str(least)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for x in daemons]

    def __enter__(self):
        for process in self._processes:
            assert process.stdout.readline() == "reading\n"
        return self

    def __exit__(self, *_):
        for process in self._processes:
            stop(process)

    def results(self):
        for process in self._processes:
            process.stdin.close()
        return [json.loads(process.stdout.read()) for process in self._processes]

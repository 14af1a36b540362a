"""What the tests of this folder observe: errno of a call, records in the SQLite file, a daemon's metrics, processes that wait in the kernel."""
import contextlib
import errno
import json
import os
import re
import sqlite3
import time

from support.process import eventually

ADMIN = {"admin": {"read": "uid:0"}}
EVERYTHING = {"read": "uid:0", "create": "uid:0", "admin": "uid:0"}

SAMPLE = re.compile(r'^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z0-9_]+)="((?:[^"\\]|\\.)*)"')


def error_name(call, *args):
    """The errno's name that a call fails with, None when it succeeds."""
    try:
        call(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
    return None


# -- the store

def database(daemon_or_sections):
    """The path of the SQLite file that a configuration names."""
    with open(daemon_or_sections.config_file) as f:
        return re.search(r"^path = (.*)$", f.read(), re.M).group(1)


@contextlib.contextmanager
def store(path):
    """A connection, as somebody with sqlite3 has it; what was done is committed at the end."""
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def texts(path):
    """{id: record, as its text stands in the store}"""
    if not os.path.exists(path):
        return {}
    with store(path) as db:
        return dict(db.execute("SELECT id, record FROM records"))


def records(path):
    return {ident: json.loads(text) for ident, text in texts(path).items()}


def forget_row(path, ident):
    with store(path) as db:
        assert db.execute("DELETE FROM records WHERE id = ?", (ident,)).rowcount == 1


def known_here(keyfs, ident):
    """This host's copy of the record is on its disk."""
    with sqlite3.connect(f"file:{keyfs.state_dir}/replica.db?mode=ro", uri=True) as replica:
        return replica.execute("SELECT count(*) FROM records WHERE id = ?", (ident,)).fetchone()[0] == 1


def put_text(path, ident, text):
    """As somebody who can write to the store would."""
    with store(path) as db:
        assert db.execute("UPDATE records SET record = ?, revision = (SELECT max(revision) FROM records) + 1 WHERE id = ?", (text, ident)).rowcount == 1


# -- the daemon

def samples(text):
    """{(name, ((label, value), ...)): number} of Prometheus text. Every line must be one."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, f"no line of Prometheus text: {line!r}"
        found[match[1], tuple(sorted(LABEL.findall(match[2] or "")))] = float(match[3])
    return found


def metrics(daemon):
    return samples(daemon.read(".keyfs/metrics").decode())


def total(daemon, name, **labels):
    """The sum of a metric over all its series that have these labels."""
    return sum(value for (what, where), value in metrics(daemon).items() if what == name and set(labels.items()) <= set(where))


def region_calls(daemon):
    return total(daemon, "keyfs_region_calls_total")


def status(daemon):
    return json.loads(daemon.read(".keyfs/status"))


# -- processes

def in_fuse(pid):
    """Whether a process sleeps in the kernel until a FUSE daemon answers."""
    try:
        with open(f"/proc/{pid}/wchan") as f:
            return f.read() in ("request_wait_answer", "fuse_wait_answer", "__fuse_simple_request", "__fuse_request_send")
    except FileNotFoundError:
        return False


def await_hanging(processes, timeout=30):
    waiting = list(processes)

    def all_hang():
        waiting[:] = [p for p in waiting if not in_fuse(p.pid)]
        ended = [p.args for p in waiting if p.poll() is not None]
        assert not ended, f"should hang, and ended: {ended[:3]}"
        return not waiting

    eventually(all_hang, timeout, "all readers wait for the daemon")


@contextlib.contextmanager
def within(seconds, what):
    """A generous upper bound that the contract demands."""
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert took < seconds, f"{what} took {took:.2f} s, and may take {seconds}"

"""Fixtures of the tests that mount keyfs on embedded parts: SQLite and local regions."""
import os
import signal

import pytest

import seen
from support import daemon as d
from support.cli import daemons_of
from support.process import alive, eventually


@pytest.fixture
def launch(make_daemon, folder):
    """launch(policy=..., sections=..., start=..., **keyfs) -> a running Daemon. All daemons of a test share one SQLite file and one set of masters; uid 0 may read
    .keyfs/. policy: {glob: {"read": ...}}, sections: more of the configuration, keyfs: entries of [keyfs]."""

    made = {}

    def start(policy=None, sections=None, start=True, name=None, options=(), user=None, env=None, admin=seen.ADMIN, **keyfs):
        # Masters are made once: a test may have taken them away since.
        if not made:
            made.update({n: s for n, s in d.local_sections(folder / "parts").items() if n.startswith(("store", "region"))})
        keys = {f"keys {glob}": entries for glob, entries in (policy or {"*": seen.EVERYTHING}).items()}
        parts = {"keyfs": keyfs, **made, **keys, **(admin or {}), **(sections or {})}
        daemon = make_daemon(parts, name=name, options=options, user=user, env=env)
        return daemon.start() if start else daemon

    return start


@pytest.fixture
def masters(folder):
    """The master key files of the local regions, by region; there once a daemon was made."""
    return {name: folder / "parts" / f"{name}.key" for name in ("local-a", "local-b", "local-c")}


@pytest.fixture
def db(folder):
    """The SQLite file that the daemons of the test share."""
    return str(folder / "parts" / "keys.db")


@pytest.fixture
def place(folder):
    """A mount point for `keyfs mount`; in the end its daemons are gone and it is free again, whatever happened."""
    path = folder / "keys"
    path.mkdir()
    yield path
    daemons = daemons_of(path)
    for pid in daemons:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not any(map(alive, daemons)))
    d.unmount(path)

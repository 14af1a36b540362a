"""The audit log in systemd's journal: a socket for datagrams of the native protocol replaces it, at the journal's own path. And what
happens without a journal."""
import json
import os
import socket
import subprocess
import threading

import pytest

import seen
from support.cli import DONE, FAILED, error_of, run
from support.daemon import local_sections, unmount, write_config
from support.process import eventually

PLACE = "/run/systemd/journal"


class Journal:
    """Takes datagrams: {field: value} of each, in `entries`."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        self.start()

    def start(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._take, args=(self._socket,))
        self._thread.start()

    def _take(self, source):
        while datagram := source.recv(1 << 16):
            # https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: FIELD=value, as long as no value has a line break
            assert datagram.endswith(b"\n")
            self.entries.append(dict(line.split("=", 1) for line in datagram.decode().splitlines()))

    def stop(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()
        os.unlink(self.path)

    def lines(self):
        return [json.loads(entry["MESSAGE"]) for entry in self.entries]


@pytest.fixture
def run_folder():
    """A /run/systemd of this test's own, where there is no journal."""
    if not os.path.isdir("/run/systemd"):
        pytest.skip("there is no /run/systemd to put a journal's socket into")
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/systemd"], check=True)
    yield
    subprocess.run(["umount", "-l", "/run/systemd"], check=True)


@pytest.fixture
def journal(run_folder):
    os.mkdir(PLACE)
    journal = Journal(PLACE + "/socket")
    yield journal
    if os.path.exists(journal.path):
        journal.stop()


def test_each_open_is_an_entry(launch, journal):
    keyfs = launch(audit="journal")
    keyfs.read("orders")
    keyfs.read("orders")
    assert seen.error_name(keyfs.read, "Makefile") == "ENOENT"
    eventually(lambda: len(journal.entries) == 4, what="four entries")
    assert {(entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) for entry in journal.entries} == {("keyfs-audit", "6")}
    assert [(line["id"], line["verdict"], line["source"]) for line in journal.lines()] == [
        ("orders", None, None), ("orders", "allowed", "region"), ("orders", "allowed", "cache"), ("Makefile", "absent", None)]
    assert {line["pid"] for line in journal.lines()} == {os.getpid()}


def test_a_journal_that_was_restarted_goes_on_being_written(launch, journal):
    keyfs = launch(audit="journal")
    keyfs.read("before")
    eventually(lambda: len(journal.entries) == 2, what="its entries")
    journal.stop()
    journal.start()
    keyfs.read("after")
    eventually(lambda: [line["id"] for line in journal.lines()] == ["before", "before", "after", "after"], what="the second one's")
    assert seen.status(keyfs)["audit"]["lost"] == 0


def test_a_journal_that_is_slower_than_readers_loses_nothing(launch, journal):
    """Its queue holds a few datagrams (net.unix.max_dgram_qlen), the readers' lines come by the hundred."""
    keyfs = launch(audit="journal")
    count = 2000
    for _ in range(count):
        keyfs.read("orders")
    eventually(lambda: len(journal.entries) == count + 1, 30, "all lines, and that of the creation")
    assert seen.status(keyfs)["audit"] == {"on": True, "required": False, "lines": count + 1, "lost": 0, "last_error": None}


def test_a_journal_that_is_gone_holds_up_no_reader_and_is_told_of(launch, journal):
    keyfs = launch(audit="journal")
    key = keyfs.read("orders")
    eventually(lambda: len(journal.entries) == 2, what="its entries")
    journal.stop()
    with seen.within(5, "fifty reads"):
        for _ in range(50):
            assert keyfs.read("orders") == key
    eventually(lambda: seen.status(keyfs)["audit"]["lost"] == 50, what="they are counted")
    assert "the journal does not accept audit lines" in seen.status(keyfs)["audit"]["last_error"]
    eventually(lambda: "audit lines are being lost" in keyfs.log(), what="the log tells of it")
    journal.start()
    keyfs.read("orders")
    eventually(lambda: any(line.get("event") == "lost" and line["lines"] == 50 for line in journal.lines()), what="the journal itself tells what it lacks")


def test_required_hands_nothing_out_while_the_journal_is_gone(launch, journal):
    keyfs = launch(audit="journal", audit_required=True)
    key = keyfs.read("orders")
    eventually(lambda: [line["event"] for line in journal.lines()] == ["creating", "open"], what="its entries")
    journal.stop()
    with seen.within(5, "fifty reads"):
        for _ in range(51):
            assert seen.error_name(keyfs.read, "orders") == "EIO", "not one, though nobody has seen yet that it is gone"
    for line in ("keys are not handed out (audit_required)", "a key was not handed out, because its audit line can't be kept"):
        eventually(lambda: line in keyfs.log(), what=f"the log's line: {line}")  # another thread writes it
    assert seen.status(keyfs)["audit"]["required"] is True
    journal.start()
    eventually(lambda: seen.error_name(keyfs.read, "orders") is None, what="the key again")
    assert keyfs.read("orders") == key
    eventually(lambda: sum(line.get("count", 0) for line in journal.lines() if line.get("errno") == "EIO") >= 51, 30, "the refusals, too")


def configuration(folder, **keyfs):
    sections = local_sections(folder / "parts", state_dir=folder / "state", **keyfs)
    return write_config(str(folder / "keyfs.ini"), {**sections, **seen.ADMIN})


def test_without_a_journal_the_audit_goes_to_a_file_where_nothing_else_was_asked_for(folder, run_folder):
    place = folder / "mnt"
    place.mkdir()
    try:
        assert run("mount", "-c", configuration(folder), place).returncode == DONE
        assert len((place / "orders").read_bytes()) == 32
        path = folder / "state" / "audit.jsonl"
        eventually(lambda: path.exists() and path.read_text().count("\n") == 2, what="its lines")
        assert {json.loads(line)["id"] for line in path.read_text().splitlines()} == {"orders"} and path.stat().st_mode & 0o777 == 0o600
        eventually(lambda: f"the audit goes to {path}" in (folder / "state" / "keyfs.log").read_text(), what="the log says where")
    finally:
        unmount(place)


def test_a_journal_that_was_asked_for_and_is_not_there_is_an_error(folder, run_folder):
    place = folder / "mnt"
    place.mkdir()
    assert "the audit log cannot go to the journal" in error_of(run("mount", "-c", configuration(folder, audit="journal"), place), FAILED)

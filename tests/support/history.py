"""Checks what many readers of many daemons saw. Pure: records in, violations out.

A record is a dict (a line of JSON in a file), times in seconds of one monotonic clock (CLOCK_MONOTONIC is the same for all processes of a machine):
  {"kind": "read", "daemon": D, "id": I, "version": V, "digest": hex, "start": s, "end": e}       a key was served
  {"kind": "create", ... the same ...}                                                            a key was served to whom it was created for
  {"kind": "fail", "daemon": D, "id": I, "errno": "EKEYREVOKED", "start": s, "end": e}            an open or read failed
  {"kind": "disable" | "enable" | "delete", "id": I, "start": s, "end": e, "ok": true}            an administrative change; without ok: its outcome is unknown
The digest is key_digest's: a keyed hash with a salt of the run, never the key. version may be None where the reader can't tell it: then all reads of the id
between two changes of version count as one version."""
import collections
import hashlib
import hmac
import json
import os
import time
from dataclasses import dataclass

CHANGES = ("disable", "enable", "delete")


@dataclass(frozen=True)
class Violation:
    law: str
    key: str
    detail: str

    def __str__(self):
        return f"{self.law}: {self.key}: {self.detail}"


def key_digest(salt, key):
    """A digest that lets two reads be compared and says nothing of the key to who doesn't know the salt."""
    return hmac.new(salt, key, hashlib.sha256).hexdigest()


class Recorder:
    """Appends records to a file of its own, one a line; every process and thread has its own Recorder. Records are flushed as they come, so that those of a
    killed reader are there."""

    def __init__(self, path, daemon, salt):
        self._file, self._daemon, self._salt = open(path, "a", buffering=1), daemon, salt

    def served(self, ident, key, start, version=None, kind="read"):
        self._add(kind=kind, id=ident, version=version, digest=key_digest(self._salt, key), bytes=len(key), start=start)

    def failed(self, ident, errno_name, start):
        self._add(kind="fail", id=ident, errno=errno_name, start=start)

    def changed(self, kind, ident, start, ok):
        self._add(kind=kind, id=ident, ok=ok, start=start)

    def read(self, mount, ident, version=None):
        """Reads <mount>/<ident>, notes what came of it, returns the bytes or None."""
        import errno

        start = time.monotonic()
        try:
            with open(os.path.join(mount, ident), "rb", buffering=0) as f:
                key = f.read()
        except OSError as e:
            self.failed(ident, errno.errorcode.get(e.errno, str(e.errno)), start)
            return None
        self.served(ident, key, start, version)
        return key

    def _add(self, **record):
        self._file.write(json.dumps({"daemon": self._daemon, "end": time.monotonic(), **record}) + "\n")

    def close(self):
        self._file.close()


def load(folder):
    """All records of a folder's *.jsonl. The last line of a killed writer may be cut short; any other bad line is an error."""
    records = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jsonl"):
            with open(os.path.join(folder, name)) as f:
                lines = f.read().split("\n")
            records += [json.loads(line) for line in lines[:-1]]
    return records


def check(records, disable_bound=None, key_bytes=32, final=None, outages=()):
    """All violations, [] when there are none.

    disable_bound: seconds after an acknowledged disable or delete within which a key may still be served (unless an enable came between, or may have).
    outages: [(begin, end)] in which nobody could have heard of a change: one that falls into an outage, or so shortly before it that the bound had not passed,
    is bound from the outage's end.
    final: {id: digest} as read at the end from the healed system; given, every id that was ever served must be in it with the same digest, unless it was
    disabled or deleted: an acknowledged creation may not be lost."""
    by_id = collections.defaultdict(list)
    for record in records:
        by_id[record["id"]].append(record)
    violations = []
    for ident, those in sorted(by_id.items()):
        serves = [r for r in those if r["kind"] in ("read", "create")]
        violations += _one_plaintext(ident, serves, key_bytes)
        changes = sorted((r for r in those if r["kind"] in CHANGES), key=lambda r: r["start"])
        if disable_bound is not None:
            violations += _revoked(ident, serves, changes, disable_bound, sorted(outages))
        if final is not None:
            violations += _kept(ident, serves, changes, final)
    return violations


def _one_plaintext(ident, serves, key_bytes):
    seen = {}
    for r in serves:
        if r.get("bytes", key_bytes) != key_bytes:
            yield Violation("whole keys only", ident, f"{r['daemon']} served {r['bytes']} bytes")
        first = seen.setdefault(r.get("version"), r)
        if first["digest"] != r["digest"]:
            yield Violation("one plaintext per version", ident, f"version {r.get('version')}: {first['daemon']} at {first['end']:.3f} and "
                            f"{r['daemon']} at {r['end']:.3f} served different keys")


def due(change, bound, outages):
    """By when a change that was acknowledged at that time must be known everywhere."""
    by = change + bound
    for begin, end in outages:
        if begin < by and end > change:
            by = max(by, end + bound)
    return by


def _revoked(ident, serves, changes, bound, outages):
    """A serve is late when it began later than bound after the end of an acknowledged disable, and nothing that might have enabled the key again began before
    the serve's end and ended after the disable's start. (A change whose outcome is unknown counts as a possible enable, never as a disable.)"""
    enables = [c for c in changes if c["kind"] == "enable"]
    for r in serves:
        for c in changes:
            if c["kind"] == "enable" or not c.get("ok"):
                continue
            if r["start"] <= due(c["end"], bound, outages):
                continue
            if any(e["start"] <= r["end"] and e["end"] >= c["start"] for e in enables):
                continue
            yield Violation("no serve after revocation", ident, f"{r['daemon']} served it {r['start'] - c['end']:.3f} s after {c['kind']} was acknowledged, "
                            f"the bound is {bound} s")
            break


def _kept(ident, serves, changes, final):
    if not serves or any(c["kind"] in ("disable", "delete") for c in changes):
        return
    last = max(serves, key=lambda r: r["end"])
    if ident not in final:
        yield Violation("no lost creation", ident, f"was served by {last['daemon']}, and is gone in the end")
    elif len({r.get("version") for r in serves}) == 1 and final[ident] != last["digest"]:
        yield Violation("no lost creation", ident, f"{last['daemon']} served another key than there is in the end")


def assert_sound(records, **rules):
    violations = check(records, **rules)
    if violations:
        shown = "\n".join(map(str, violations[:20]))
        raise AssertionError(f"{len(violations)} violations in {len(records)} records:\n{shown}")

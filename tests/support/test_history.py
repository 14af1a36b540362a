"""The history checker catches what it is there to catch, and nothing else."""
import json

import pytest

from .availability import answered_for
from .history import Recorder, assert_sound, check, load


def serve(daemon, digest, start, end=None, ident="a", version=1, **more):
    return {"kind": "read", "daemon": daemon, "id": ident, "version": version, "digest": digest, "start": start, "end": end or start + 0.1, **more}


def change(kind, start, ok=True, ident="a"):
    return {"kind": kind, "daemon": "cli", "id": ident, "ok": ok, "start": start, "end": start + 0.1}


def laws(records, **rules):
    return [v.law for v in check(records, **rules)]


def test_agreement_is_sound():
    assert_sound([serve("d1", "x", 0), serve("d2", "x", 0), serve("d1", "y", 1, ident="b"), serve("d1", "z", 2, version=2)], final={"a": "x", "b": "y"})


def test_two_plaintexts_of_one_version_are_caught():
    assert laws([serve("d1", "x", 0), serve("d2", "y", 5)]) == ["one plaintext per version"]
    assert laws([serve("d1", "x", 0, version=None), serve("d1", "y", 5, version=None)]) == ["one plaintext per version"]
    with pytest.raises(AssertionError, match="d1.*d2"):
        assert_sound([serve("d1", "x", 0), serve("d2", "y", 5)])


def test_a_short_key_is_caught():
    assert laws([serve("d1", "x", 0, bytes=31)]) == ["whole keys only"]


def test_a_lost_or_replaced_creation_is_caught():
    assert laws([serve("d1", "x", 0)], final={}) == ["no lost creation"]
    assert laws([serve("d1", "x", 0)], final={"a": "y"}) == ["no lost creation"]
    assert laws([serve("d1", "x", 0), change("delete", 1)], final={}) == []


def test_a_serve_after_the_bound_is_caught():
    disabled = [serve("d1", "x", 0), change("disable", 10)]
    assert laws(disabled + [serve("d2", "x", 11.0)], disable_bound=1) == []
    assert laws(disabled + [serve("d2", "x", 11.2)], disable_bound=1) == ["no serve after revocation"]
    assert laws(disabled + [serve("d2", "x", 11.2)]) == []
    assert laws([change("disable", 10, ok=False), serve("d2", "x", 20)], disable_bound=1) == []
    # It began in time and was slow to end: the open was granted before.
    assert laws(disabled + [serve("d2", "x", 10.5, end=30)], disable_bound=1) == []


def test_in_an_outage_the_bound_counts_from_its_end():
    disabled = [serve("d1", "x", 0), change("disable", 10)]  # acknowledged at 10.1
    late = disabled + [serve("d2", "x", 15)]
    assert laws(late, disable_bound=3, outages=[(11, 13)]) == []
    assert laws(late, disable_bound=3, outages=[(11, 11.5), (14, 16)]) == []
    assert laws(late, disable_bound=3, outages=[(5, 10)]) == ["no serve after revocation"]
    assert laws(late, disable_bound=3, outages=[(13.2, 14)]) == ["no serve after revocation"]
    assert laws(late, disable_bound=3, outages=[(11, 11.5)]) == ["no serve after revocation"]


def test_how_long_somebody_answered_on_end():
    assert answered_for([], 10, 14) == 4
    assert answered_for([(11, 13)], 10, 14) == 1
    assert answered_for([(5, 11), (13, 20)], 10, 14) == 2
    assert answered_for([(5, 20)], 10, 14) <= 0


def test_an_enable_between_allows_a_serve_and_one_before_does_not():
    assert laws([change("disable", 10), change("enable", 12), serve("d", "x", 20)], disable_bound=1) == []
    assert laws([change("disable", 10), change("enable", 12, ok=False), serve("d", "x", 20)], disable_bound=1) == []
    assert laws([change("enable", 5), change("disable", 10), serve("d", "x", 20)], disable_bound=1) == ["no serve after revocation"]
    assert laws([change("disable", 10), change("enable", 12), change("disable", 14), serve("d", "x", 20)], disable_bound=1) == ["no serve after revocation"]


def test_the_recorder_writes_what_the_checker_reads_and_no_key(tmp_path):
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "a").write_bytes(b"k" * 32)
    for daemon in ("d1", "d2"):
        recorder = Recorder(tmp_path / f"{daemon}.jsonl", daemon, b"salt")
        assert recorder.read(tmp_path / "mount", "a") == b"k" * 32
        assert recorder.read(tmp_path / "mount", "none") is None
        recorder.close()
    with open(tmp_path / "d1.jsonl", "a") as f:
        f.write('{"kind": "re')  # its writer was killed
    records = load(tmp_path)
    assert [r["kind"] for r in records] == ["read", "fail"] * 2 and records[1]["errno"] == "ENOENT"
    assert b"k" * 32 not in json.dumps(records).encode()
    assert_sound(records)
    (tmp_path / "mount" / "a").write_bytes(b"K" * 32)
    recorder = Recorder(tmp_path / "d3.jsonl", "d3", b"salt")
    recorder.read(tmp_path / "mount", "a")
    recorder.close()
    assert laws(load(tmp_path)) == ["one plaintext per version"]

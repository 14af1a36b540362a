"""Records that somebody changed in the SQLite file: EBADMSG, a log line that names them, no new key."""
import base64
import json

import pytest

import seen
from support.process import eventually

VICTIM, OTHER = "payroll", "trifle"


def every_wrap(record):
    return record["versions"]["1"]["wrapped"].values()


def swap_blobs(mine, others):
    for wrap, foreign in zip(every_wrap(mine), every_wrap(others), strict=True):
        wrap["blob"] = foreign["blob"]
    return mine


def flip_blobs(mine, _, at=-1):
    for wrap in every_wrap(mine):
        blob = bytearray(base64.b64decode(wrap["blob"]))
        blob[at] ^= 1
        wrap["blob"] = base64.b64encode(blob).decode()
    return mine


def cut_blobs(mine, _):
    for wrap in every_wrap(mine):
        wrap["blob"] = wrap["blob"][:8]
    return mine


def change_check(mine, _):
    check = mine["versions"]["1"]["check"]
    mine["versions"]["1"]["check"] = ("0" if check[0] != "0" else "1") + check[1:]
    return mine


def foreign_key(mine, others):
    """All of another key's version under this id: blobs, check and all."""
    mine["versions"]["1"] = others["versions"]["1"]
    return mine


def another_version(mine, _):
    """The same blobs as version 2: they are bound to version 1."""
    mine["versions"] = {"2": mine["versions"]["1"]}
    mine["current"] = 2
    return mine


def cut_json(mine, _):
    return json.dumps(mine)[:-20]


CHANGES = {"blobs of another id": swap_blobs, "the last byte of each blob": flip_blobs, "the first byte of each blob": lambda m, o: flip_blobs(m, o, 0),
           "a byte amidst each blob": lambda m, o: flip_blobs(m, o, 30), "blobs cut short": cut_blobs, "check": change_check,
           "another key's version": foreign_key, "another version": another_version, "JSON cut short": cut_json, "no JSON": lambda m, o: "lorem ipsum",
           "nothing": lambda m, o: "", "an empty object": lambda m, o: "{}", "null": lambda m, o: "null", "a list": lambda m, o: [],
           "the whole record of another id": lambda m, o: o, "its id": lambda m, o: {**m, "id": OTHER}, "no versions": lambda m, o: {**m, "versions": {}},
           "its origin": lambda m, o: {**m, "origin": "f" * 32}, "no origin": lambda m, o: {k: v for k, v in m.items() if k != "origin"},
           "no check": lambda m, o: (m["versions"]["1"].pop("check"), m)[1], "no wraps": lambda m, o: (m["versions"]["1"].update(wrapped={}), m)[1],
           "its format's number": lambda m, o: {**m, "keyfs": 2}, "its state": lambda m, o: {**m, "state": "fine"}, "its current version": lambda m, o: {**m, "current": 7}}


@pytest.fixture
def keys(launch):
    maker = launch(name="maker")
    made = {ident: maker.read(ident) for ident in (VICTIM, OTHER)}
    maker.terminate()
    return made


@pytest.mark.parametrize("seen_before", [True, False], ids=["known-host", "new-host"])
def test_tampered_records(launch, keys, db, seen_before):
    """Each change, on a host that has a copy of the record as it was, and on one that never saw it."""
    before = seen.texts(db)
    keyfs = launch(start=False, name="maker" if seen_before else "stranger")
    for what, change in CHANGES.items():
        mine, others = (json.loads(before[ident]) for ident in (VICTIM, OTHER))
        changed = change(mine, others)
        changed = changed if isinstance(changed, str) else json.dumps(changed)
        assert changed != before[VICTIM]
        seen.put_text(db, VICTIM, changed)
        keyfs.start()
        logged = len(keyfs.log())
        for _ in range(2):
            assert seen.error_name(keyfs.read, VICTIM) == "EBADMSG", what
        assert keyfs.read(OTHER) == keys[OTHER], what
        eventually(lambda: any(VICTIM in line for line in keyfs.log()[logged:].splitlines()), 10, f"{what}: the log names it")
        keyfs.terminate()
        assert [line["errno"] for line in keyfs.audit() if line["id"] == VICTIM][-2:] == ["EBADMSG"] * 2, what
        assert seen.texts(db) == {**before, VICTIM: changed}, f"{what}: the store was changed"
    seen.put_text(db, VICTIM, before[VICTIM])
    keyfs.start()
    assert keyfs.read(VICTIM) == keys[VICTIM]


def test_one_wrap_that_is_wrong_is_told_and_the_others_serve(launch, keys, db):
    record = seen.records(db)[VICTIM]
    wrap = record["versions"]["1"]["wrapped"]["local-b"]
    wrap["blob"] = seen.records(db)[OTHER]["versions"]["1"]["wrapped"]["local-b"]["blob"]
    seen.put_text(db, VICTIM, json.dumps(record))
    keyfs = launch()
    assert keyfs.read(VICTIM) == keys[VICTIM]
    assert seen.records(db)[VICTIM]["versions"]["1"]["wrapped"]["local-b"] == wrap, "a wrong wrap is told of, never written over"


def test_a_record_that_is_gone_is_not_made_anew_where_it_is_known(launch, keys, db):
    """A store that lost a record that this host has seen: another key for the same id would be worse than none."""
    with seen.store(db) as store:
        store.execute("DELETE FROM records WHERE id = ?", (VICTIM,))
    keyfs = launch(name="maker")
    assert seen.error_name(keyfs.read, VICTIM) == "EBADMSG"
    assert seen.texts(db).keys() == {OTHER}
    eventually(lambda: VICTIM in keyfs.log(), 10, "the log names it")
    assert keyfs.read(OTHER) == keys[OTHER]


def test_a_cached_key_never_turns_into_another(launch, keys, db):
    """Tampered while cached: it is served until it is checked, then refused; never with other bytes."""
    keyfs = launch(fresh_for="0s")
    assert keyfs.read(VICTIM) == keys[VICTIM]
    mine, others = seen.records(db)[VICTIM], seen.records(db)[OTHER]
    seen.put_text(db, VICTIM, json.dumps(foreign_key(mine, others)))
    for _ in range(50):
        try:
            assert keyfs.read(VICTIM) == keys[VICTIM]
        except OSError as e:
            assert seen.errno.errorcode[e.errno] == "EBADMSG"


def test_a_store_that_is_no_database_is_no_empty_store(launch, keys, db, folder):
    """The file cut short or overwritten: reading fails, and so does creating."""
    with open(db, "r+b") as f:
        f.write(b"x" * 8192)
    keyfs = launch(start=False)
    try:
        keyfs.start()
    except RuntimeError:
        keyfs.logged(str(db))
        return
    assert seen.error_name(keyfs.read, VICTIM) in ("EIO", "EBADMSG")
    assert seen.error_name(keyfs.read, "new") in ("EIO", "EBADMSG")

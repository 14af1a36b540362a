"""user.keyfs.*: what is known about a key without unwrapping it."""
import os
import re
import subprocess

import pytest

import seen
from support.users import run_as

NAMES = ["user.keyfs.version", "user.keyfs.state", "user.keyfs.created", "user.keyfs.regions"]
OTHER = 4002


def attributes(keyfs, ident):
    return {name.removeprefix("user.keyfs."): os.getxattr(keyfs.path(ident), name).decode() for name in NAMES}


def fits(found):
    created = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["created"])
    return created and {**found, "created": 0, "regions": sorted(found["regions"].split(","))} == {
        "version": "1", "state": "enabled", "created": 0, "regions": ["local-a", "local-b", "local-c"]}


def test_they_tell_of_a_key_that_was_read(launch):
    keyfs = launch()
    keyfs.read("orders")
    assert os.listxattr(keyfs.path("orders")) == NAMES
    assert fits(attributes(keyfs, "orders"))


def test_of_a_key_that_was_not_unwrapped_without_unwrapping_it(launch, masters):
    maker = launch()
    maker.read("orders")
    told = attributes(maker, "orders")
    for path in masters.values():
        os.rename(path, f"{path}.away")
    keyfs = launch()
    calls = seen.region_calls(keyfs)
    assert attributes(keyfs, "orders") == told
    assert seen.region_calls(keyfs) == calls


def test_of_a_key_that_was_disabled(launch):
    keyfs = launch()
    keyfs.read("orders")
    assert keyfs.cli("disable", "orders").returncode == 0
    other = launch()
    assert attributes(other, "orders")["state"] == "disabled"


def test_a_key_that_is_not_there_has_none_and_does_not_come_to_be(launch, db):
    keyfs = launch()
    for name in NAMES:
        assert seen.error_name(os.getxattr, keyfs.path("nothing"), name) == "ENODATA"
    os.listxattr(keyfs.path("nothing"))
    assert seen.texts(db) == {}


@pytest.mark.parametrize("uid", [OTHER, 0])
def test_they_are_for_those_who_may_read_it(launch, uid):
    keyfs = launch(policy={"*": {"read": "uid:4001", "create": "uid:4001"}})
    assert run_as(4001, 4001, [], ["cat", keyfs.path("orders")], text=False).returncode == 0
    for name in NAMES:
        done = run_as(uid, uid, [], ["getfattr", "--only-values", "-n", name, keyfs.path("orders")])
        assert done.returncode != 0 and done.stdout == "" and "Permission denied" in done.stderr


def test_others_are_not_there_and_none_are_set(launch):
    keyfs = launch()
    keyfs.read("orders")
    for name in ("user.other", "security.capability", "trusted.x", "user.keyfs.none"):
        assert seen.error_name(os.getxattr, keyfs.path("orders"), name) in ("ENODATA", "EOPNOTSUPP")
    assert seen.error_name(os.setxattr, keyfs.path("orders"), NAMES[1], b"deleted") == "EROFS"
    assert seen.error_name(os.removexattr, keyfs.path("orders"), NAMES[1]) == "EROFS"
    assert seen.error_name(os.getxattr, keyfs.mount, NAMES[0]) == "ENODATA"


def test_programs_that_copy_attributes_are_content(launch, folder):
    keyfs = launch()
    key = keyfs.read("orders")
    done = subprocess.run(["cp", "--preserve=all", keyfs.path("orders"), folder / "copy"], capture_output=True)
    assert done.returncode == 0 and (folder / "copy").read_bytes() == key
    done = subprocess.run(["getfattr", "-d", "--absolute-names", keyfs.path("orders")], capture_output=True, text=True)
    assert done.returncode == 0 and 'user.keyfs.version="1"' in done.stdout

"""Masters that are not those that wrapped the keys are seen by every command that examines, and the operator's word wraps anew."""
import json
import os

import pytest

from support.cli import DONE, FAILED, PARTIAL, run
from support.daemon import unmount

MASTERS = ["local-a", "local-b", "local-c"]


@pytest.fixture
def store(folder):
    where = folder / "d"
    assert run("create", "--embedded", where, "orders").returncode == DONE
    return where


def replace_masters(store, *regions):
    for region in regions:
        (store / "masters" / f"{region}.key").write_bytes(os.urandom(32))


def read(store, place, key):
    assert run("mount", "--embedded", store, place).returncode == DONE
    try:
        return (place / key).read_bytes()
    finally:
        unmount(place)


def keys(store, command, *arguments):
    done = run(command, "--embedded", store, "--json", *arguments)
    return done.returncode, json.loads(done.stdout)["keys"][0]


def test_masters_that_were_replaced_are_degraded_in_list_describe_and_check(store):
    assert keys(store, "list")[0] == DONE
    replace_masters(store, "local-a", "local-b")
    code, listed = keys(store, "list")
    assert (code, listed["missing"], listed["other_master"]) == (PARTIAL, [], ["local-a", "local-b"])
    code, described = keys(store, "describe", "orders")
    assert (code, described["degraded"]) == (PARTIAL, True)
    assert described["versions"][0]["other_master"] == ["local-a", "local-b"]
    checked = run("check", "--embedded", store)
    assert checked.returncode == PARTIAL, checked.stdout
    assert "1 wrapped by another master than local-a's" in checked.stdout and "keyfs heal" in checked.stdout


def test_heal_wraps_anew_under_a_changed_master_and_the_key_stays_the_same(store, place):
    plaintext = read(store, place, "orders")
    replace_masters(store, "local-a", "local-b")
    healed = run("heal", "--embedded", store)
    assert healed.returncode == DONE and "1 healed" in healed.stdout, healed
    assert keys(store, "list")[0] == DONE
    before = json.loads(run("describe", "--embedded", store, "--json", "orders").stdout)["keys"][0]
    # The one master that was never changed is not needed any more.
    replace_masters(store, "local-c")
    assert run("heal", "--embedded", store).returncode == DONE
    after = json.loads(run("describe", "--embedded", store, "--json", "orders").stdout)["keys"][0]
    assert read(store, place, "orders") == plaintext
    masters = [{w["region"]: w["master"] for w in key["versions"][0]["wrapped"]} for key in (before, after)]
    assert masters[0]["local-c"] != masters[1]["local-c"] and masters[0]["local-a"] == masters[1]["local-a"]


def test_with_no_right_master_left_check_fails_and_heal_changes_nothing(store):
    before = keys(store, "describe", "orders")[1]
    replace_masters(store, *MASTERS)
    checked = run("check", "--embedded", store)
    assert checked.returncode == FAILED and "put the right masters back" in checked.stdout, checked.stdout
    healed = run("heal", "--embedded", store)
    assert healed.returncode == FAILED and "orders" in healed.stderr, healed
    after = keys(store, "describe", "orders")[1]
    assert after["versions"][0]["wrapped"] == before["versions"][0]["wrapped"]

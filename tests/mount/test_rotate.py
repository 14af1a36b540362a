"""keyfs rotate, promote, retire, destroy: one version for each rotation that was asked for, whatever is killed, raced or out."""
import json
import os
import random
import sqlite3
import subprocess
import time

import pytest

import seen
from support.cli import DONE, FAILED, PARTIAL, USAGE, error_of, run
from support.daemon import binary, local_sections, unmount, write_config
from support.process import eventually, spawn

REGIONS = ["local-a", "local-b", "local-c"]


@pytest.fixture
def host(folder):
    """host(name) -> the configuration of a host with a state_dir of its own, on the SQLite file and the masters that all share."""
    parts = local_sections(folder / "parts")

    def make(name="one", policy=None):
        sections = dict(parts) if policy is None else {**{n: s for n, s in parts.items() if not n.startswith("keys")}, **policy}
        sections["keyfs"] = {"state_dir": folder / f"state-{name}", "audit": "off"}
        sections["admin"] = {"read": "uid:0"}
        return write_config(str(folder / f"{name}.ini"), sections)

    return make


@pytest.fixture
def config(host):
    path = host()
    assert run("create", "-c", path, "orders").returncode == DONE
    return path


def record(folder, ident="orders"):
    return seen.records(str(folder / "parts" / "keys.db"))[ident]


def token_file(folder, ident="orders", name="one"):
    return folder / f"state-{name}" / "rotations" / ident


def answer(command, config, *args):
    done = run(command, "-c", config, "--json", *args)
    return done.returncode, json.loads(done.stdout)["keys"][0]


def read(config, place, ident="orders"):
    assert run("mount", "-c", config, place).returncode == DONE
    try:
        return (place / ident).read_bytes()
    finally:
        unmount(place)


def test_a_rotated_key_reads_as_the_new_version_and_the_first_one_stays_in_the_record(config, folder, place):
    first, before = read(config, place), record(folder)
    code, told = answer("rotate", config, "orders")
    assert code == DONE and (told["version"], told["before"], told["current"], told["made"], told["outcome"]) == (2, 1, 2, True, "promoted")
    assert told["regions"] == REGIONS and told["missing"] == []
    after = record(folder)
    assert after["versions"]["1"] == before["versions"]["1"]
    assert (after["current"], after["last"], after["serial"], "pending" in after) == (2, 2, 2, False)
    assert not token_file(folder).exists(), "the next rotation is another one"
    second = read(config, place)
    assert len(second) == 32 and second != first
    assert run("promote", "-c", config, "orders", "1").stdout.startswith("orders: version 1 is current now, before it version 2, tested in local-a")
    assert read(config, place) == first


def test_a_running_daemon_serves_the_new_version(launch):
    keyfs = launch(fresh_for="0s")
    first = keyfs.read("orders")
    done = keyfs.cli("rotate", "orders")
    assert done.returncode == DONE, done
    line, told = done.stdout.splitlines()
    assert line == "orders: version 2 is current now, before it version 1, tested in local-a, local-b, local-c"
    assert told == "consumers will be told in a run: keyfs rotation show --watch"
    eventually(lambda: keyfs.read("orders") != first, what="the new version")
    assert keyfs.cli("promote", "orders", "1").returncode == DONE
    eventually(lambda: keyfs.read("orders") == first, what="the old version")


def test_a_held_version_waits_for_its_promotion(config, folder):
    held = run("rotate", "-c", config, "--hold", "orders")
    assert held.returncode == DONE and "version 2 is made and held; version 1 stays current until: keyfs promote orders 2" in held.stdout, held
    assert (record(folder)["current"], record(folder)["pending"]) == (1, 2)
    text = run("describe", "-c", config, "orders").stdout
    assert "version  1 (current)" in text and "version  2 (pending)" in text, text
    code, described = answer("describe", config, "orders")
    assert (code, described["current"], described["pending"], described["min"]) == (DONE, 1, 2, 1)
    assert [v["state"] for v in described["versions"]] == ["readable", "pending"]
    assert run("promote", "-c", config, "orders", "2").returncode == DONE
    code, described = answer("describe", config, "orders")
    assert (described["current"], described["pending"]) == (2, None) and described["versions"][1]["promoted"]
    assert "is current already" in run("promote", "-c", config, "orders", "2").stdout


def test_old_versions_are_retired_permitted_again_and_destroyed(config, folder):
    for _ in range(2):
        assert run("rotate", "-c", config, "orders").returncode == DONE
    c = ("-c", config)
    assert "version 3 is current, and stays readable" in error_of(run("retire", *c, "orders", "--below", "4"), FAILED)
    assert "is not retired" in error_of(run("destroy", *c, "--yes", "orders", "2"), FAILED)
    assert run("retire", *c, "orders", "--below", "3").stdout == "orders: versions below 3 are retired\n"
    assert run("retire", *c, "orders", "--below", "3").stdout == "orders: versions below 3 are retired already\n"
    assert "version 1 is retired" in error_of(run("promote", *c, "orders", "1"), FAILED)
    assert run("retire", *c, "orders", "--below", "2").returncode == DONE
    kept = error_of(run("destroy", *c, "orders", "1"), USAGE)
    assert "permanently removes every wrapped copy of version 1 of orders" in kept and "--yes" in kept
    assert record(folder)["versions"]["1"]["wrapped"]
    assert run("destroy", *c, "--yes", "orders", "1").stdout == "orders: version 1 destroyed\n"
    assert run("destroy", *c, "--yes", "orders", "1").stdout == "orders: version 1 destroyed already\n"
    gone = record(folder)["versions"]["1"]
    assert gone["wrapped"] == {} and gone["check"] and gone["destroyed"]
    text = run("describe", *c, "orders")
    assert text.returncode == DONE and "version  1 (destroyed)" in text.stdout and "it was destroyed, permanently" in text.stdout, text.stdout
    assert run("heal", *c, "orders").returncode == DONE
    assert run("retire", *c, "orders", "--below", "1").stdout == "orders: no version is retired\n"
    assert "version 1 was destroyed" in error_of(run("promote", *c, "orders", "1"), FAILED)
    assert "version 9 was never made" in error_of(run("promote", *c, "orders", "9"), FAILED)


def test_what_cannot_be_rotated_is_told_and_left(config, folder):
    c = ("-c", config)
    assert "there is no key nobody" in error_of(run("rotate", *c, "nobody"), FAILED)
    both = run("rotate", *c, "--json", "nobody", "orders")
    assert len(run("rotate", *c, "--hold", "--token", "x", "orders", "orders").stdout.splitlines()) == 1, "named twice, rotated once"
    assert both.returncode == PARTIAL and [k.get("error") for k in json.loads(both.stdout)["keys"]] == ["absent", None]
    run("disable", *c, "orders")
    before = record(folder)
    assert "it is disabled; enable it first" in error_of(run("rotate", *c, "orders"), FAILED)
    run("delete", *c, "--yes", "orders")
    for command in (("rotate", "orders"), ("promote", "orders", "1"), ("retire", "orders", "--below", "1")):
        assert "it was deleted, which is permanent" in error_of(run(command[0], *c, *command[1:]), FAILED)
    assert before["current"] == record(folder)["current"] == 2
    assert not token_file(folder).exists() and not token_file(folder, "nobody").exists()


@pytest.mark.parametrize("args", [("rotate",), ("promote", "1"), ("retire", "--below", "1"), ("destroy", "--yes", "1")], ids=lambda args: args[0])
def test_an_invalid_id_is_a_mistake_in_the_command_line_and_a_user_who_is_no_admin_is_refused(host, args):
    command, *rest = args
    config = host(policy={"keys *": {"read": "uid:0", "create": "uid:0"}})
    run("create", "-c", config, "orders")
    assert '"no/id" is not a valid key id' in error_of(run(command, "-c", config, "no/id", *rest), USAGE)
    assert f"may not {command} orders" in error_of(run(command, "-c", config, "orders", *rest), FAILED)


def away(folder, *names):
    for name in names:
        os.rename(folder / "parts" / f"{name}.key", folder / "parts" / f"{name}.away")


def back(folder, *names):
    for name in names:
        os.rename(folder / "parts" / f"{name}.away", folder / "parts" / f"{name}.key")


def test_with_one_region_out_it_is_degraded_and_with_two_nothing_is_made(config, folder):
    away(folder, "local-c")
    code, told = answer("rotate", config, "orders")
    assert (code, told["current"], told["regions"], [m["region"] for m in told["missing"]]) == (PARTIAL, 2, REGIONS[:2], ["local-c"])
    away(folder, "local-b")
    before = record(folder)
    assert "wrapped in 1 of 2 required regions" in error_of(run("rotate", "-c", config, "orders"), FAILED)
    assert record(folder) == before
    assert token_file(folder).exists(), "the same command goes on with this rotation"
    back(folder, "local-b", "local-c")
    assert answer("rotate", config, "orders")[1]["current"] == 3
    assert run("heal", "-c", config, "orders").returncode == DONE


def test_a_version_that_cannot_be_tested_in_enough_regions_is_not_made_current(config, folder):
    assert run("rotate", "-c", config, "--hold", "--token", "friday", "orders").returncode == DONE
    away(folder, "local-b", "local-c")
    before = record(folder)
    failed = error_of(run("rotate", "-c", config, "--token", "friday", "orders"), FAILED)
    assert "version 2 of key orders is not made current, and version 1 stays it: tested in 1 of 2 required regions" in failed, failed
    assert "the same command again" in failed
    code, told = answer("promote", config, "orders", "2")
    assert (code, told["current"], told["outcome"]) == (FAILED, 1, "not-promoted") and "reason" in told
    assert record(folder) == before
    back(folder, "local-b", "local-c")
    code, told = answer("rotate", config, "--token", "friday", "orders")
    assert (code, told["version"], told["made"], told["outcome"]) == (DONE, 2, False, "promoted")
    assert len(record(folder)["versions"]) == 2


def start(*args):
    return spawn([binary(), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_at_any_time_and_run_again_it_makes_one_version_in_all(config, folder):
    chance = random.Random(20261126)
    begin = time.monotonic()
    assert run("rotate", "-c", config, "orders").returncode == DONE
    whole = time.monotonic() - begin
    checks, wanted, met = {}, 2, set()
    for _ in range(60):
        assert not token_file(folder).exists()
        rotating = start("rotate", "-c", config, "orders")
        time.sleep(chance.uniform(0, 1.2 * whole))  # where it is killed, not what is waited for
        rotating.kill()
        told = rotating.communicate()[0]
        after = record(folder)
        met.add((len(after["versions"]) > wanted, after["current"] > wanted, token_file(folder).exists()))
        assert len(after["versions"]) in (wanted, wanted + 1)
        # What was not begun, or was told, is no rotation that goes on.
        if token_file(folder).exists():
            again = run("rotate", "-c", config, "orders")
            assert again.returncode == DONE, again
        elif len(after["versions"]) > wanted:
            assert "is current now" in told
        wanted = len(record(folder)["versions"])
        now = {number: version["check"] for number, version in record(folder)["versions"].items()}
        assert checks.items() <= now.items() and len(set(now.values())) == len(now)
        checks = now
        assert record(folder)["current"] == wanted
    assert record(folder)["serial"] == wanted, "each was made current once"
    assert len(met) > 1, "the kills came at different steps"


def test_it_waits_for_a_store_that_is_locked_and_killed_there_has_made_nothing(config, folder):
    before = record(folder)
    lock = sqlite3.connect(folder / "parts" / "keys.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    rotating = start("rotate", "-c", config, "orders")
    eventually(lambda: token_file(folder).exists() and token_file(folder).read_text().endswith("\n"), what="the rotation to begin")
    token = token_file(folder).read_text()
    rotating.kill()
    rotating.wait()
    lock.execute("ROLLBACK")
    lock.close()
    assert record(folder) == before
    code, told = answer("rotate", config, "orders")
    assert (code, told["version"], told["current"]) == (DONE, 2, 2)
    assert record(folder)["versions"]["2"]["token"] == token.strip()


@pytest.mark.parametrize("hosts", [("one", "two", "three"), ("one", "one", "one")], ids=["on three hosts", "on one host"])
def test_rotations_at_once_make_one_version_each(config, host, folder, hosts):
    configs = [config if name == "one" else host(name) for name in hosts]
    for round in range(1, 9):
        started = [start("rotate", "-c", path, "orders") for path in configs]
        for each in started:
            out, err = each.communicate(timeout=60)
            assert each.returncode == DONE, out + err
        after = record(folder)
        assert len(after["versions"]) == after["current"] == 1 + 3 * round
        assert len({version["token"] for version in after["versions"].values() if "token" in version}) == 3 * round
        assert "pending" not in after


def test_one_token_on_two_hosts_is_one_rotation(config, host, folder):
    started = [start("rotate", "-c", path, "--token", "friday", "orders") for path in (config, host("two"))]
    for each in started:
        out, err = each.communicate(timeout=60)
        assert each.returncode == DONE, out + err
    assert len(record(folder)["versions"]) == record(folder)["current"] == 2
    assert "must be 1 to 255" in error_of(run("rotate", "-c", config, "--token", "no token", "orders"), USAGE)
    assert not token_file(folder).exists()

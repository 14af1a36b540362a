"""Keys created while regions are dead: created as long as enough are left, visibly degraded, completed when the regions return; otherwise not created."""
import json

import pytest

import cloud
from mount import seen
from mount.seen import within
from support import cli
from support.process import eventually


def dead_kms(aws, *numbers, how="cut"):
    for n in numbers:
        aws.regions[n].kms.link(how)


def described(keyfs, ident):
    done = keyfs.cli("describe", ident, "--json")
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)["keys"][0]


@pytest.mark.parametrize("how", ["cut", "hang"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_key_is_made_with_one_region_dead(launch, aws, table, number, how):
    keyfs = launch()
    keyfs.read("before")
    dead_kms(aws, number, how=how)
    with within(5, "a creation with one region dead"):
        key = keyfs.read("orders")
    alive = {r.name for r in aws.regions if r.number != number + 1}
    assert cloud.wrapped_in(cloud.records(aws, table)["orders"]) == alive
    assert launch().read("orders") == key


def test_a_key_that_lacks_a_region_is_shown_everywhere_and_filled_in_when_the_region_returns(launch, aws, table):
    keyfs = launch()
    keyfs.read("whole")
    lost = aws.regions[2].name
    dead_kms(aws, 2)
    key = keyfs.read("orders")

    code, shown = described(keyfs, "orders")
    assert (code, shown["degraded"], shown["versions"][0]["missing"]) == (3, True, [lost])
    assert described(keyfs, "whole")[1]["degraded"] is False
    assert f"{lost}  missing: keyfs heal orders" in keyfs.cli("describe", "orders").stdout
    listed = {line.split()[0]: line for line in keyfs.cli("list").stdout.splitlines()}
    assert f"degraded: not in {lost}" in listed["orders"] and "degraded" not in listed["whole"]
    status = eventually(lambda: (s := seen.status(keyfs)) and s["healer"]["waiting"] == 1 and s, 20, "it waits for the healer")
    assert {r["name"]: r["failures"] for r in status["regions"]}[lost] > 0
    assert seen.total(keyfs, "keyfs_degraded_keys") == 1
    assert seen.total(keyfs, "keyfs_degraded_seen_total", kind="missing") >= 1
    assert cli.run("status", keyfs.mount).returncode == cli.PARTIAL

    aws.heal()
    names = {r.name for r in aws.regions}
    eventually(lambda: cloud.wrapped_in(cloud.records(aws, table)["orders"]) == names, 60, "the daemon fills it in by itself")
    eventually(lambda: seen.status(keyfs)["healer"]["waiting"] == 0, 20, "nothing waits any more")
    assert described(keyfs, "orders") == (0, described(keyfs, "orders")[1]) and not described(keyfs, "orders")[1]["degraded"]
    # The new wrap holds the same key: with all others dead, it's the one that is read.
    dead_kms(aws, 0, 1)
    assert launch().read("orders") == key


def test_with_too_few_regions_nothing_is_made_and_the_reason_is_told(launch, aws, table):
    keyfs = launch(create_min_regions=2, open_deadline="4s")
    existing = keyfs.read("before")
    dead_kms(aws, 0, 1)
    with within(8, "the refusal"):
        assert seen.error_name(keyfs.read, "orders") in ("EIO", "ETIMEDOUT")
    log = keyfs.logged("could not create key orders: ")
    assert "could not create key orders: wrapped in 1 of 2 required regions (" in log, log
    for region in aws.regions[:2]:
        assert f"{region.name}: " in log
    assert set(cloud.items(aws, table)) == {"before"}
    assert keyfs.read("before") == existing
    aws.heal()
    key = eventually(lambda: seen.error_name(keyfs.read, "orders") is None and keyfs.read("orders"), 30, "it's made once they return")
    assert len(key) == 32
    assert len(cloud.wrapped_in(cloud.records(aws, table)["orders"])) >= 2


def test_a_single_region_is_enough_where_the_configuration_says_so(launch, aws, table):
    keyfs = launch(create_min_regions=1)
    dead_kms(aws, 0, 1)
    key = keyfs.read("orders")
    assert cloud.wrapped_in(cloud.records(aws, table)["orders"]) == {aws.regions[2].name}
    aws.heal()
    assert launch().read("orders") == key


def test_create_by_command_line_tells_that_the_key_is_degraded(launch, aws, table):
    keyfs = launch()
    dead_kms(aws, 1)
    done = keyfs.cli("create", "orders")
    assert done.returncode == 3, done
    assert aws.regions[1].name in done.stdout + done.stderr
    aws.heal()
    done = keyfs.cli("heal", "orders")
    assert done.returncode == 0, done
    assert cloud.wrapped_in(cloud.records(aws, table)["orders"]) == {r.name for r in aws.regions}

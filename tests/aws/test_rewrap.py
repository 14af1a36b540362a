"""keyfs rewrap in KMS: to new masters of every region, each call counted at the proxies, and the dry run's price that of the run."""
import json

import cloud
import pytest
from mount import seen
from support.cli import DONE

IDS = ["orders", "bills", "users"]
VERSIONS = [".keyfs/versions/orders/1", ".keyfs/versions/orders/2", ".keyfs/versions/bills/1", ".keyfs/versions/users/1"]


@pytest.fixture
def keyfs(launch, aws):
    """A daemon with three keys, of which one has two versions; its configuration names new masters, and it is restarted by the test."""
    made = launch(background_calls_per_second=10000)
    for ident in IDS:
        made.read(ident)
    assert made.cli("rotate", "orders").returncode == DONE
    return made


def with_new_masters(launch, aws):
    keys = {region.name: {"key": region.kms_direct("CreateKey", Description="new")["KeyMetadata"]["Arn"]} for region in aws.regions}
    return launch(name="new", regions=keys, background_calls_per_second=10000), {entry["key"] for entry in keys.values()}


def rewrap(keyfs, *args):
    done = keyfs.cli("rewrap", "--json", *args)
    assert done.returncode == DONE, done
    return json.loads(done.stdout)


def masters(aws, table):
    return [wrap["key"] for record in cloud.records(aws, table).values() for version in record["versions"].values() for wrap in version["wrapped"].values()]


def test_to_new_masters_is_one_decrypt_a_version_and_two_calls_a_wrap_as_the_dry_run_says(keyfs, launch, aws, table, calls):
    before = {path: keyfs.read(path) for path in VERSIONS}
    new, arns = with_new_masters(launch, aws)
    items = cloud.items(aws, table)
    calls.reset()
    planned = rewrap(new, "--dry-run")
    assert cloud.kms_calls(calls.all()) == {} and cloud.items(aws, table) == items
    assert (planned["versions"], planned["wraps"], planned["kms_calls"]) == (4, 12, 28)
    assert planned["price_usd"] == pytest.approx(28 * 0.03 / 10000)
    calls.reset()
    done = rewrap(new)
    assert {k: done[k] for k in ("keys", "versions", "wraps", "kms_calls")} == {k: planned[k] for k in ("keys", "versions", "wraps", "kms_calls")}
    made = calls.all()
    assert made["Encrypt"] == 12
    assert made["Decrypt"] >= 16, "one for each version and each new wrap; a slow one is hedged"
    assert set(masters(aws, table)) == arns and len(masters(aws, table)) == 12
    assert rewrap(new)["wraps"] == 0
    assert {path: new.read(path) for path in VERSIONS} == before
    assert seen.error_name(new.read, ".keyfs/versions/orders/3") == "ENOENT"

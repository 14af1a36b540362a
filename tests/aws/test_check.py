"""`keyfs check` over AWS: creates the table, reports what works and how to fix what does not; and the calls that keyfs makes are exactly what the IAM policy in
scripts/terraform permits, no more and no less."""
import collections
import json
import os
import re
import uuid

import cloud
import pytest

from support import cli
from support.process import ROOT_DIR

TERRAFORM = os.path.join(ROOT_DIR, "scripts", "terraform")


@pytest.fixture
def table():
    """The name of a table that isn't there."""
    return f"keyfs-{uuid.uuid4().hex[:8]}"


def check(keyfs, *args):
    """Exit code, and {part: {what: item}}."""
    done = keyfs.cli("check", "--json", *args)
    parts = json.loads(done.stdout)["parts"] if done.stdout else []
    return done.returncode, {part["part"].split(" (")[0]: {item["what"]: item for item in part["items"]} for part in parts}


def test_the_table_is_made_protected_and_good_for_a_mount(launch, aws, table):
    keyfs = launch(start=False)
    code, parts = check(keyfs)
    assert code == cli.FAILED
    [item] = parts["store"].values()
    assert f"{aws.regions[0].name}: there is no table {table}" in item["detail"], "told once, and nothing that follows from it"
    assert item["remedy"].startswith("keyfs check --create-table creates it; add its replicas in the other regions")

    done = keyfs.cli("check", "--create-table")
    assert done.returncode == cli.DONE, done
    assert "on-demand, with deletion protection and point-in-time recovery" in done.stdout
    home = aws.regions[0].dynamodb_direct
    made = home("DescribeTable", TableName=table)["Table"]
    assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST" and made["DeletionProtectionEnabled"] is True
    assert made["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    recovery = home("DescribeContinuousBackups", TableName=table)["ContinuousBackupsDescription"]
    assert recovery["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    board = home("DescribeTable", TableName=f"{table}-board")["Table"]
    assert board["KeySchema"] == [{"AttributeName": "part", "KeyType": "HASH"}, {"AttributeName": "name", "KeyType": "RANGE"}]
    assert board["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST" and board["DeletionProtectionEnabled"] is True
    keyfs.start()
    assert len(keyfs.read("orders")) == 32
    done = keyfs.cli("check", "--create-table")
    assert done.returncode == cli.DONE and "already exists; nothing was changed" in done.stdout
    assert set(cloud.items(aws, table)) == {"orders"}, "what check tries leaves nothing behind"
    assert not home("Scan", TableName=f"{table}-board")["Items"]


def test_without_its_board_everything_works_and_check_says_how_to_get_one(launch, aws, table):
    aws.regions[0].make_table(table)
    aws.regions[0].dynamodb_direct("DeleteTable", TableName=f"{table}-board")
    keyfs = launch()
    key = keyfs.read("orders")
    assert keyfs.cli("disable", "orders").returncode == cli.DONE and keyfs.cli("enable", "orders").returncode == cli.DONE
    assert keyfs.cli("list").returncode == cli.DONE and keyfs.cli("heal").returncode == cli.DONE
    keyfs.restart()
    assert keyfs.read("orders") == key
    code, parts = check(keyfs)
    board = parts["store"]["board"]
    assert code == cli.DONE and board["ok"], parts["store"]
    assert f"there is no table {table}-board" in board["detail"] and "not rotated over several hosts" in board["detail"]
    assert board["remedy"] == "keyfs check --create-table creates it"
    done = keyfs.cli("check", "--create-table")
    assert done.returncode == cli.DONE and f"table {table}-board in {aws.regions[0].name} was created" in done.stdout
    assert "remedy" not in check(keyfs)[1]["store"]["board"]


def test_a_region_without_the_table_is_degraded_and_wants_a_replica(launch, aws, table):
    aws.regions[0].make_table(table)
    aws.regions[1].dynamodb.fault("error", type="ResourceNotFoundException", op=["GetItem", "Scan", "PutItem", "UpdateItem", "DeleteItem"])
    code, parts = check(launch(start=False))
    assert code == cli.PARTIAL, "mount works"
    failed = [item for item in parts["store"].values() if not item["ok"]]
    assert [item["what"] for item in failed] == [f"{aws.regions[1].name} may read"], failed
    assert failed[0]["remedy"].startswith("add a replica of the global table in that region")
    assert "--create-table" not in json.dumps(parts)


def test_a_table_that_was_made_without_recovery_is_exit_code_3(launch, aws, table):
    keyfs = launch(start=False)
    aws.regions[0].dynamodb.fault("error", op="UpdateContinuousBackups", type="AccessDeniedException")
    done = keyfs.cli("check", "--create-table")
    assert done.returncode == cli.PARTIAL, done
    assert f"table {table} in {aws.regions[0].name} was created: on-demand, with deletion protection" in done.stdout
    assert "and point-in-time recovery" not in done.stdout and f"point-in-time recovery of table {table}" in done.stderr
    assert "region " in done.stdout, "the rest is checked all the same"
    aws.regions[0].dynamodb_direct("DescribeTable", TableName=table)


def test_all_is_told_of_what_works(launch, aws, table):
    keyfs = launch(start=False)
    assert keyfs.cli("check", "--create-table").returncode == cli.DONE
    code, parts = check(keyfs)
    assert code == cli.DONE and all(item["ok"] for part in parts.values() for item in part.values()), parts
    store = parts["store"]
    for region in aws.regions:
        assert {f"{region.name} may read", f"{region.name} may list", f"{region.name} may create", f"{region.name} may change"} <= set(store)
        part = parts[f"region {region.name}"]
        assert {"reachable", "may describe the master key", "may generate", "may encrypt", "may decrypt"} <= set(part)
        assert re.search(r"answered in \d+", part["reachable"]["detail"])
    assert store[f"table {table}"]["detail"] == "new keys are created in any region"
    assert (store["deletion protection"]["detail"], store["point-in-time recovery"]["detail"]) == ("on", "on")


def test_a_table_without_recovery_is_told_with_the_advice(launch, aws, table):
    aws.regions[0].make_table(table)
    code, parts = check(launch(start=False))
    assert code == cli.DONE
    for what in ("deletion protection", "point-in-time recovery"):
        assert parts["store"][what]["detail"] == "off" and parts["store"][what]["remedy"] == "turning it on is recommended"
    # Who may not look is told so, and goes on.
    aws.regions[0].dynamodb.fault("error", op="DescribeContinuousBackups", type="AccessDeniedException")
    code, parts = check(launch(start=False))
    assert code == cli.DONE and "unknown: " in parts["store"]["point-in-time recovery"]["detail"]


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_one_region_out_is_degraded_with_what_to_look_at(launch, aws, table, how):
    aws.regions[0].make_table(table)
    keyfs = launch(start=False, open_deadline="3s")
    lost = aws.regions[1]
    lost.kms.link(how)
    code, parts = check(keyfs)
    assert code == cli.PARTIAL
    item = parts[f"region {lost.name}"]["reachable"]
    assert not item["ok"] and "host" in item["remedy"], item
    for region in (aws.regions[0], aws.regions[2]):
        assert all(item["ok"] for item in parts[f"region {region.name}"].values())
    aws.regions[2].kms.link("cut")
    done = keyfs.cli("check")
    assert "keys can be read but not created: 1 of 2 required regions are good" in done.stdout, done


def test_a_master_that_is_disabled_or_missing_is_told_with_the_remedy(launch, aws, table):
    aws.regions[0].make_table(table)
    first, second = aws.regions[0], aws.regions[1]
    keyfs = launch(start=False, regions={second.name: {"key": "alias/another"}})
    first.kms.fault("error", type="DisabledException", op=["GenerateDataKey", "Encrypt", "Decrypt"])
    code, parts = check(keyfs)
    assert code == cli.PARTIAL
    assert "is disabled: enable it, or remove the region" in parts[f"region {first.name}"]["may generate"]["detail"]
    assert "does not exist there: check `key`" in json.dumps(parts[f"region {second.name}"])


def permitted(document):
    """The actions of a policy document in scripts/terraform."""
    with open(os.path.join(TERRAFORM, "policy.tf")) as f:
        text = f.read()
    block = text.split(f'data "aws_iam_policy_document" "{document}" {{', 1)[1].split("\n}\n", 1)[0]
    return set(re.findall(r'"((?:kms|dynamodb):[A-Za-z]+)"', block))


def asked(calls):
    """The actions that the calls at the proxies took."""
    found = collections.Counter()
    for (operation, proxy), count in calls.by_region().items():
        if operation[0].isalpha():  # not the pings
            found[f"{proxy.split('-')[0]}:{operation}"] += count
    return set(found)


def test_the_policy_for_hosts_permits_what_keyfs_asks_for_and_nothing_else(launch, aws, table, calls):
    aws.regions[0].make_table(table)
    calls.reset()
    keyfs = launch(fresh_for="0s")
    aws.regions[2].kms.link("cut")
    for ident in ("one", "two"):
        keyfs.read(ident)
        keyfs.read(ident)
    aws.regions[2].kms.link("pass")
    os.listdir(keyfs.mount)
    for command in (["check"], ["list"], ["describe", "one"], ["create", "three"], ["disable", "one"], ["enable", "one"], ["delete", "--yes", "two"], ["heal"]):
        assert keyfs.cli(*command).returncode in (cli.DONE, cli.PARTIAL), command
    keyfs.restart()
    keyfs.read("one")
    assert asked(calls) == permitted("host")


def test_the_policy_for_making_the_table_permits_that_and_nothing_else(launch, calls, table):
    keyfs = launch(start=False)
    calls.reset()
    assert keyfs.cli("check", "--create-table").returncode == cli.DONE
    assert asked(calls) - permitted("host") == permitted("setup") - permitted("host")


def test_the_terraform_example_can_be_parsed_and_names_what_it_uses():
    import hcl2

    blocks = collections.defaultdict(list)
    for name in sorted(os.listdir(TERRAFORM)):
        if name.endswith(".tf"):
            with open(os.path.join(TERRAFORM, name)) as f:
                for kind, found in hcl2.load(f).items():
                    blocks[kind] += found

    def names(kind):
        return {key.strip('"') for block in blocks[kind] for key in block}

    assert names("variable") == {"name", "regions", "consistency", "tags", "signing_name", "signing_regions", "spire_trust_domain"}
    assert {"aws_kms_key", "aws_kms_alias", "aws_dynamodb_table", "aws_iam_policy"} == names("resource")
    text = "".join(open(os.path.join(TERRAFORM, name)).read() for name in os.listdir(TERRAFORM) if name.endswith(".tf"))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == names("variable")
    for kind, name in re.findall(r"\b(aws_\w+)\.(\w+)[.\[]", text.replace("data.", "")):
        assert re.search(rf'"{kind}" "{name}"', text), f"{kind}.{name}"

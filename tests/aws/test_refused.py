"""AWS refuses keyfs: a wrong clock, credentials that are wrong or have expired, a removed role. What the operator reads in the log, from `keyfs check`
and in the audit names the cause and the remedy, and never a secret."""
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import cloud
from mount import seen
from support.process import eventually

SECRET = "w" * 36 + "/K7"
ENV = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET}
GOOD = {"AKIATEST": {"secret": SECRET}}


def everywhere(aws, what):
    for region in aws.regions:
        what(region.kms)
        what(region.dynamodb)


def check(keyfs):
    """Exit code, and {part: {what: item}} of `keyfs check`."""
    done = keyfs.cli("check", "--json")
    answer = json.loads(done.stdout)
    return done.returncode, {part["part"].split(" (")[0]: {item["what"]: item for item in part["items"]} for part in answer["parts"]}


def failed_items(part):
    return [item for item in part.values() if not item["ok"]]


REFUSALS = {
    # name: (what the proxies accept, what the message must say)
    "wrong secret": ({"AKIATEST": {"secret": "another"}}, ["AWS refuses the signature (InvalidSignatureException)", "the secret access key from the environment"]),
    "expired": ({"AKIATEST": {"secret": SECRET, "error": "ExpiredTokenException"}}, ["AWS refuses the credentials from the environment", "as expired", "renew them"]),
    "deleted": ({}, ["AWS refuses the credentials from the environment", "the access key was deleted or deactivated"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_credentials_are_named_with_where_they_come_from(launch, aws, name):
    accepted, says = REFUSALS[name]
    everywhere(aws, lambda proxy: proxy.verify(GOOD))
    keyfs = launch(env=ENV)
    key = keyfs.read("orders")
    everywhere(aws, lambda proxy: proxy.verify(accepted))

    assert seen.error_name(keyfs.read, "new") == "EIO"
    line = cloud.said(keyfs, "new")
    for text in says:
        assert text in line, line
    assert keyfs.read("orders") == key, "what is cached is served"
    code, parts = check(keyfs)
    assert code == 1
    for name, part in parts.items():
        if not name.startswith(("store", "region")):
            continue
        failed = failed_items(part)
        assert failed and all(item.get("remedy") for item in failed), (name, part)
        for text in says:
            assert any(text in item["detail"] for item in failed), (name, part)
    audited = eventually(lambda: [a for a in keyfs.audit() if a["id"] == "new"], 10, "a line in the audit")[-1]
    assert (audited["verdict"], audited["errno"]) == ("failed", "EIO")
    for text in says:
        assert text in audited["reason"], audited

    everywhere(aws, lambda proxy: proxy.verify(GOOD))
    eventually(lambda: seen.error_name(keyfs.read, "new") is None, 60, "keys are made again by themselves once the credentials are good")
    for text in (keyfs.log(), json.dumps(parts), json.dumps(keyfs.audit())):
        assert SECRET not in text and SECRET[:36] not in text


def test_a_role_that_was_taken_away_from_kms_is_named_with_the_actions_it_lacks(launch, aws):
    maker = launch()
    key = maker.read("orders")
    for region in aws.regions:
        region.kms.fault("error", type="AccessDeniedException")
    keyfs = launch(name="later")
    assert seen.error_name(keyfs.read, "orders") == "EACCES"
    assert seen.error_name(keyfs.read, "new") == "EACCES"
    for ident, action in (("orders", "kms:Decrypt"), ("new", "kms:GenerateDataKey")):
        line = cloud.said(keyfs, ident)
        for region in aws.regions:
            assert f"{action} with the master key {region.key_arn} in {region.name} is not permitted" in line, line
        assert "the key's policy and the caller's IAM policy must allow it" in line
    code, parts = check(keyfs)
    assert code == 1
    for region in aws.regions:
        part = parts[f"region {region.name}"]
        for what, action in (("may describe the master key", "kms:DescribeKey"), ("may generate", "kms:GenerateDataKey"), ("may encrypt", "kms:Encrypt")):
            assert not part[what]["ok"] and action in part[what]["remedy"], part
    assert maker.read("orders") == key
    eventually(lambda: len(keyfs.audit()) >= 2, 10, "a refusal's line is written behind its answer")
    assert [(a["id"], a["verdict"], a["errno"]) for a in keyfs.audit()] == [("orders", "failed", "EACCES"), ("new", "failed", "EACCES")]


def test_a_role_that_was_taken_away_from_one_region_is_told_while_keys_are_read_elsewhere(launch, aws):
    keyfs = launch()
    keys = {f"key-{n}": keyfs.read(f"key-{n}") for n in range(3)}
    aws.regions[0].kms.fault("error", type="AccessDeniedException", op=["Decrypt", "Encrypt", "GenerateDataKey"])
    later = launch(name="later")
    assert {ident: later.read(ident) for ident in keys} == keys
    line = eventually(lambda: [x for x in later.log().splitlines() if "refuses keyfs" in x], 10, "a line")[0]
    assert "level=error" in line and aws.regions[0].name in line and "kms:Decrypt" in line
    status = {r["name"]: r for r in seen.status(later)["regions"]}[aws.regions[0].name]
    assert status["state"] == "open" and "kms:Decrypt" in status["last_error"]
    assert later.cli("check").returncode == 3


@pytest.mark.parametrize("operation", ["GetItem", "PutItem", "UpdateItem", "Scan"])
def test_a_permission_that_the_table_lacks_is_named(launch, aws, operation):
    keyfs = launch()
    keyfs.read("first")
    for region in aws.regions:
        region.dynamodb.fault("error", type="AccessDeniedException", op=operation)
    code, parts = check(keyfs)
    assert code == 1
    failed = failed_items(parts["store"])
    assert failed and all(f"dynamodb:{operation}" in item["detail"] and f"dynamodb:{operation}" in item["remedy"] for item in failed), failed
    if operation in ("GetItem", "PutItem"):
        assert seen.error_name(keyfs.read, "new") == "EIO", "it is not the caller that is refused"
        assert f"permission dynamodb:{operation} on table" in cloud.said(keyfs, "new")


def test_a_table_that_is_gone_is_an_outage_to_the_reader(launch, aws):
    keyfs = launch()
    for region in aws.regions:
        region.dynamodb.fault("error", type="ResourceNotFoundException", op=["GetItem", "PutItem"])
    assert seen.error_name(keyfs.read, "new") == "EIO"
    assert "there is no table" in cloud.said(keyfs, "new")
    audited = eventually(lambda: [a for a in keyfs.audit() if a["id"] == "new"], 10, "a line in the audit")[-1]
    assert audited["errno"] == "EIO" and "there is no table" in audited["reason"]


@pytest.mark.parametrize("ahead", [-3600, 20 * 60])
def test_a_clock_that_is_wrong_is_allowed_for_and_told_by_check(launch, aws, ahead):
    everywhere(aws, lambda proxy: proxy.verify(GOOD, clock=ahead))
    keyfs = launch(env=ENV)
    key = keyfs.read("orders")
    assert launch(name="another", env=ENV).read("orders") == key
    code, parts = check(keyfs)
    assert code in (1, 3), "it wants mending, though it works"
    for region in aws.regions:
        clock = parts[f"region {region.name}"]["clock"]
        assert not clock["ok"] and "chrony" in clock["remedy"]
        assert ("behind AWS's" if ahead > 0 else "ahead of AWS's") in clock["detail"], clock


def test_a_clock_that_is_wrong_fails_none_of_those_who_come_first(launch, aws):
    """Each is refused once, and one of them learns AWS's time from it; the others were refused for the same."""
    everywhere(aws, lambda proxy: proxy.verify(GOOD, clock=3600))
    keyfs = launch(env=ENV)
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(keyfs.read, (f"first-{n}" for n in range(8))))
    assert len(set(keys)) == 8


def test_a_clock_that_is_wrong_along_with_the_secret_is_named_with_both_remedies(launch, aws):
    everywhere(aws, lambda proxy: proxy.verify({"AKIATEST": {"secret": "another"}}, clock=3600))
    keyfs = launch(env=ENV)
    assert seen.error_name(keyfs.read, "orders") == "EIO"
    line = cloud.said(keyfs, "orders")
    for text in ("this machine's clock is", "behind AWS's", "set the clock (chrony, systemd-timesyncd)", "secret access key from the environment"):
        assert text in line, line


def test_no_credentials_at_all_are_told_with_the_places_that_were_looked_at(launch):
    keyfs = launch(env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    assert seen.error_name(keyfs.read, "orders") == "EIO"
    assert "no AWS credentials: none in the environment, no web identity, no profile default, no container" in cloud.said(keyfs, "orders")
    assert keyfs.cli("check").returncode == 1

"""Tables that RKMS wrote (keyfs's ancestor: wraps without a context, by region, and no check value): read if the configuration permits it, and converted
without changing a byte."""
import json
import os
import subprocess

import pytest

import cloud
from mount import seen
from support.aws_client import b64
from support.process import eventually, spawn

ACCEPT = {"accept_rkms_records": True}


def write_as_rkms(aws, table, ident, key=None, keys=None):
    """As RKMS does it: one data key, encrypted in each region without an encryption context. keys: {region's number: another key there}."""
    key = key or os.urandom(32)
    wrapped = {}
    for region in aws.regions:
        plain = (keys or {}).get(region.number, key)
        wrapped[region.name] = {"S": region.kms_direct("Encrypt", KeyId=region.key_arn, Plaintext=b64(plain))["CiphertextBlob"]}
    aws.regions[0].dynamodb_direct("PutItem", TableName=table, Item={"id": {"S": ident}, "keys": {"M": wrapped}},
                                   ConditionExpression="attribute_not_exists(id)")
    return key


@pytest.fixture
def theirs(aws, table):
    """{id: key} of a table by RKMS, sizes that it made among them."""
    return {f"rkms-{n}": write_as_rkms(aws, table, f"rkms-{n}", os.urandom(size)) for n, size in enumerate((32, 32, 16, 64))}


def test_records_of_rkms_are_read_where_the_configuration_accepts_them(launch, theirs, aws):
    keyfs = launch(store=ACCEPT)
    assert {ident: keyfs.read(ident) for ident in theirs} == theirs
    done = keyfs.cli("describe", "rkms-0")
    assert "written by RKMS" in done.stdout, done
    # Any region that holds it will do.
    for region in aws.regions[:2]:
        region.kms.link("cut")
    later = launch(store=ACCEPT)
    assert {ident: later.read(ident) for ident in theirs} == theirs


def test_without_that_they_are_refused_never_replaced_and_the_setting_is_named(launch, theirs, aws, table):
    keyfs = launch()
    before = cloud.items(aws, table)
    for ident in theirs:
        assert seen.error_name(keyfs.read, ident) == "EBADMSG"
    eventually(lambda: "it was written by RKMS; to read such records, set accept_rkms_records = yes" in keyfs.log(), 10, "the remedy in the log")
    assert keyfs.cli("create", "rkms-0").returncode == 1
    assert cloud.items(aws, table) == before


def test_an_item_that_was_refused_before_can_be_adopted_once_it_is_accepted(launch, theirs, aws, table):
    keyfs = launch(name="same")
    assert seen.error_name(keyfs.read, "rkms-0") == "EBADMSG"
    assert keyfs.cli("create", "rkms-1").returncode == 1
    aws.regions[0].dynamodb_direct("DeleteItem", TableName=table, Key={"id": {"S": "rkms-2"}})
    assert len(keyfs.read("rkms-2")) == 32, "nobody has looked at it"
    keyfs.terminate()
    again = launch(name="same", store=ACCEPT)
    assert json.loads(again.cli("heal", "--adopt", "--json").stdout)["adopted"] == 3
    assert {ident: again.read(ident) for ident in ("rkms-0", "rkms-1", "rkms-3")} == {ident: theirs[ident] for ident in ("rkms-0", "rkms-1", "rkms-3")}


def test_such_an_item_that_is_gone_later_is_not_created_anew(launch, theirs, aws, table):
    keyfs = launch()
    assert seen.error_name(keyfs.read, "rkms-0") == "EBADMSG"
    aws.regions[0].dynamodb_direct("DeleteItem", TableName=table, Key={"id": {"S": "rkms-0"}})
    assert seen.error_name(keyfs.read, "rkms-0") == "EBADMSG"
    assert keyfs.cli("create", "rkms-0").returncode == 1


def test_new_keys_of_such_a_table_are_records_of_keyfs(launch, theirs, aws, table):
    keyfs = launch(store=ACCEPT)
    keyfs.read("new")
    assert set(cloud.items(aws, table)["new"]) == {"id", "record", "revision"}
    assert {line.split()[0] for line in keyfs.cli("list").stdout.splitlines()[1:]} == {*theirs, "new"}


def test_adoption_changes_no_byte_of_a_key(launch, theirs, aws, table):
    running = launch(name="running", store=ACCEPT)
    assert running.read("rkms-0") == theirs["rkms-0"]
    done = running.cli("heal", "--adopt", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["adopted"] == len(theirs), done.stdout
    for ident, record in ((i, json.loads(item["record"]["S"])) for i, item in cloud.items(aws, table).items()):
        version = record["versions"]["1"]
        assert cloud.wrapped_in(record) == {r.name for r in aws.regions} and version["check"] and version["bytes"] == len(theirs[ident])
        # Wrapped anew, bound to its id: without that context no region opens it.
        for region in aws.regions:
            wrap = version["wrapped"][region.name]
            opened = region.kms_direct("Decrypt", CiphertextBlob=wrap["blob"], EncryptionContext={"keyfs:id": ident, "keyfs:version": "1", "keyfs:store": record["origin"]})
            assert opened["Plaintext"] == b64(theirs[ident])
            with pytest.raises(Exception, match="InvalidCiphertext"):
                region.kms_direct("Decrypt", CiphertextBlob=wrap["blob"])
    # Daemons that need nothing of RKMS read them, and so does the one that was running.
    fresh = launch(name="fresh")
    for keyfs in (fresh, running):
        assert {ident: keyfs.read(ident) for ident in theirs} == theirs
    done = running.cli("heal", "--adopt", "--json")
    assert done.returncode == 0 and (json.loads(done.stdout)["adopted"], json.loads(done.stdout)["rkms_left"]) == (0, 0)
    assert "no RKMS record is left: once nothing writes such records any more, remove accept_rkms_records from" in running.cli("heal", "--adopt").stdout


def test_regions_that_hold_different_keys_are_told_and_the_record_is_left_alone(launch, aws, table):
    """RKMS never compared its regions. Until a record is adopted it is unknown which region is right; adoption finds out."""
    write_as_rkms(aws, table, "split", keys={2: os.urandom(32)})
    good = write_as_rkms(aws, table, "good")
    before = cloud.items(aws, table)["split"]
    keyfs = launch(store=ACCEPT)
    done = keyfs.cli("heal", "--adopt")
    assert done.returncode == 3, done
    assert "is left: once" not in done.stdout, done
    assert "split" in done.stdout + done.stderr and "hold different keys under this id" in done.stdout + done.stderr, done
    assert cloud.items(aws, table)["split"] == before
    assert "record" in cloud.items(aws, table)["good"] and launch().read("good") == good


def test_a_region_that_is_out_puts_adoption_off(launch, theirs, aws, table):
    before = cloud.items(aws, table)
    aws.regions[1].kms.link("cut")
    keyfs = launch(store=ACCEPT)
    done = keyfs.cli("heal", "--adopt", "rkms-0")
    assert done.returncode != 0, done
    assert aws.regions[1].name in done.stdout + done.stderr
    assert cloud.items(aws, table) == before
    aws.heal()
    assert keyfs.cli("heal", "--adopt", "rkms-0").returncode == 0
    assert launch().read("rkms-0") == theirs["rkms-0"]


def test_daemons_race_to_adopt_and_the_key_stays_the_same(launch, theirs, aws, table):
    daemons = [launch(store=ACCEPT) for _ in range(3)]
    running = [spawn([x.program, "heal", *x.source, "--adopt"], env=x.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for x in daemons]
    for process in running:
        process.communicate(timeout=60)
    assert all("record" in item for item in cloud.items(aws, table).values())
    for keyfs in [*daemons, launch()]:
        assert {ident: keyfs.read(ident) for ident in theirs} == theirs

"""What keyfs's tests rely on in moto, in the proxies before it, and in the launcher."""
import json
import os
import subprocess
import sys

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .aws import TABLE
from .aws_client import AwsClient, AwsError, b64, unb64
from .process import ROOT_DIR, alive, eventually

CONTEXT = {"keyfs:id": "orders", "keyfs:version": "1"}


def kms(aws, n=0, endpoint=None, **more):
    return AwsClient("kms", aws.regions[n].name, endpoint or aws.regions[n].kms.url, **more)


def test_a_wrap_needs_its_context_and_its_region(aws):
    one, two = kms(aws, 0), kms(aws, 1)
    made = one("GenerateDataKey", KeyId="alias/keyfs", KeySpec="AES_256", EncryptionContext=CONTEXT)
    assert made["KeyId"] == aws.regions[0].key_arn and len(unb64(made["Plaintext"])) == 32
    blob = two("Encrypt", KeyId="alias/keyfs", Plaintext=made["Plaintext"], EncryptionContext=CONTEXT)
    assert blob["KeyId"] == aws.regions[1].key_arn
    opened = two("Decrypt", CiphertextBlob=blob["CiphertextBlob"], KeyId=blob["KeyId"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["Plaintext"] and opened["KeyId"] == aws.regions[1].key_arn
    for context in ({}, {**CONTEXT, "keyfs:version": "2"}):
        with pytest.raises(AwsError, match="InvalidCiphertext"):
            two("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=context)
    with pytest.raises(AwsError):
        one("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=CONTEXT)


def test_a_multi_region_key_opens_in_every_region(aws):
    blob = kms(aws, 0)("Encrypt", KeyId=aws.regions[0].mrk_arn, Plaintext=b64(b"x" * 32), EncryptionContext=CONTEXT)
    for n, region in enumerate(aws.regions):
        opened = kms(aws, n)("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=CONTEXT)
        assert unb64(opened["Plaintext"]) == b"x" * 32 and opened["KeyId"] == region.mrk_arn


def test_a_disabled_key_and_one_pending_deletion_do_nothing(aws):
    region = aws.regions[2]
    key = region.kms_direct("CreateKey")["KeyMetadata"]["Arn"]
    blob = region.kms_direct("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    for change, fields, error in (("DisableKey", {}, "DisabledException"),
                                  ("ScheduleKeyDeletion", {"PendingWindowInDays": 7}, "KMSInvalidStateException")):
        region.kms_direct(change, KeyId=key.split("/")[1], **fields)
        for op, more in (("Decrypt", {"CiphertextBlob": blob}), ("Encrypt", {"Plaintext": b64(b"x")}), ("GenerateDataKey", {"KeySpec": "AES_256"})):
            with pytest.raises(AwsError, match=error):
                kms(aws, 2)(op, KeyId=key, **more)


def test_a_pinned_key_refuses_another_keys_ciphertext(aws):
    blob = kms(aws)("Encrypt", KeyId="alias/keyfs", Plaintext=b64(b"x"))["CiphertextBlob"]
    with pytest.raises(AwsError, match="IncorrectKeyException"):
        kms(aws)("Decrypt", CiphertextBlob=blob, KeyId=aws.regions[0].mrk_arn)
    with pytest.raises(AwsError, match="InvalidCiphertext"):
        kms(aws)("Decrypt", CiphertextBlob=b64(unb64(blob)[:-1] + b"?"), KeyId="alias/keyfs")
    with pytest.raises(AwsError, match="NotFoundException"):
        kms(aws)("Decrypt", CiphertextBlob=blob, KeyId="alias/none")


def test_a_dry_run_does_nothing_and_says_so(aws):
    with pytest.raises(AwsError, match="DryRunOperation"):
        kms(aws)("GenerateDataKey", KeyId="alias/keyfs", KeySpec="AES_256", DryRun=True)
    with pytest.raises(AwsError, match="NotFoundException"):
        kms(aws)("GenerateDataKey", KeyId="alias/none", KeySpec="AES_256", DryRun=True)


def test_the_first_write_wins_and_the_loser_gets_the_winner(aws):
    put = dict(TableName=TABLE, ConditionExpression="attribute_not_exists(id)", ReturnValuesOnConditionCheckFailure="ALL_OLD")
    first = AwsClient("dynamodb", aws.regions[0].name, aws.regions[0].dynamodb.url)
    other = AwsClient("dynamodb", aws.regions[1].name, aws.regions[1].dynamodb.url)
    first("PutItem", Item={"id": {"S": "a"}, "v": {"N": "1"}}, **put)
    with pytest.raises(AwsError, match="ConditionalCheckFailed"):
        other("PutItem", Item={"id": {"S": "a"}, "v": {"N": "2"}}, **put)
    aws.regions[1].dynamodb.record()
    assert other("GetItem", TableName=TABLE, Key={"id": {"S": "a"}}, ConsistentRead=True)["Item"]["v"] == {"N": "1"}
    assert aws.regions[1].dynamodb.requests()[0]["values"] == {"TableName": TABLE, "Key": {"id": {"S": "a"}}, "ConsistentRead": True}


def boto(aws, endpoint, secret="test", **more):
    return boto3.client("kms", region_name=aws.regions[0].name, endpoint_url=endpoint, aws_access_key_id="AKIDTEST",
                        aws_secret_access_key=secret, verify=aws.ca.ca_file,
                        config=Config(retries={"max_attempts": 0}, read_timeout=20, connect_timeout=20), **more)


@pytest.mark.parametrize("how", ["url", "tls_url"])
def test_signatures_of_botocore_are_accepted_and_wrong_ones_are_not(aws, how):
    proxy = aws.regions[0].kms
    endpoint = getattr(proxy, how)
    proxy.verify({"AKIDTEST": {"secret": "s3cret", "token": "tok"}, "AKIDOLD": {"secret": "x", "error": "ExpiredTokenException"}})
    try:
        assert boto(aws, endpoint, "s3cret", aws_session_token="tok").describe_key(KeyId="alias/keyfs")
        assert kms(aws, endpoint=endpoint, access_key="AKIDTEST", secret="s3cret", token="tok", ca_file=aws.ca.ca_file)(
            "DescribeKey", KeyId="alias/keyfs")
        with pytest.raises(ClientError, match="InvalidSignatureException"):
            boto(aws, endpoint, "wrong", aws_session_token="tok").describe_key(KeyId="alias/keyfs")
        for keys, error in ((("AKIDTEST", "s3cret", None), "UnrecognizedClient"), (("AKIDOLD", "x", None), "ExpiredToken"),
                            (("NOBODY", "x", None), "UnrecognizedClient")):
            with pytest.raises(AwsError, match=error):
                kms(aws, endpoint=endpoint, access_key=keys[0], secret=keys[1], token=keys[2], ca_file=aws.ca.ca_file)("ListKeys")
    finally:
        proxy.verify(None)


def test_a_write_can_be_done_and_its_reply_lost(aws):
    proxy = aws.regions[0].dynamodb
    client = AwsClient("dynamodb", aws.regions[0].name, proxy.url)
    proxy.fault("lose_reply", op="PutItem", count=1)
    with pytest.raises(ConnectionResetError):
        client("PutItem", TableName=TABLE, Item={"id": {"S": "lost"}})
    assert client("GetItem", TableName=TABLE, Key={"id": {"S": "lost"}})["Item"]


def test_a_table_can_be_described_as_a_global_one(aws):
    proxy = aws.regions[0].dynamodb
    client = AwsClient("dynamodb", aws.regions[0].name, proxy.url)
    proxy.fault("corrupt", op="DescribeTable", field="Table.Replicas", value=[{"RegionName": "us-west-2", "ReplicaStatus": "ACTIVE"}], count=1)
    assert client("DescribeTable", TableName=TABLE)["Table"]["Replicas"][0]["RegionName"] == "us-west-2"
    proxy.fault("corrupt", op="DescribeTable", field="Table.MultiRegionConsistency", value="STRONG")
    assert client("DescribeTable", TableName=TABLE)["Table"]["MultiRegionConsistency"] == "STRONG"


def test_reset_forgets_items_and_keys(aws):
    old = aws.regions[0].key_arn
    aws.regions[0].dynamodb_direct("PutItem", TableName=TABLE, Item={"id": {"S": "x"}})
    aws.reset()
    assert aws.regions[0].key_arn != old
    assert "Item" not in aws.regions[0].dynamodb_direct("GetItem", TableName=TABLE, Key={"id": {"S": "x"}})


def test_the_launcher_gives_the_parts_and_leaves_nothing_behind():
    script = os.path.join(ROOT_DIR, "tests", "support", "with_aws.py")
    code = ("import os, json, urllib.request as u; e = os.environ; "
            "print(json.dumps([e['KEYFS_TEST_REGION_2'], u.urlopen(e['KEYFS_TEST_KMS_2_CONTROL'] + '/stats').status])); raise SystemExit(7)")
    done = subprocess.run([sys.executable, script, "--regions", "us-east-1,us-west-2", "--", sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (7, ["us-west-2", 200]), done.stderr


def test_a_killed_launcher_takes_its_parts_along():
    script = os.path.join(ROOT_DIR, "tests", "support", "with_aws.py")
    launcher = subprocess.Popen([sys.executable, script, "--regions", "us-east-1", "--", "sh", "-c", "echo up; exec sleep 1000"],
                                stdout=subprocess.PIPE)
    assert launcher.stdout.readline() == b"up\n"
    with open(f"/proc/{launcher.pid}/task/{launcher.pid}/children") as f:
        children = [int(p) for p in f.read().split()]
    assert len(children) == 3
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    eventually(lambda: not any(alive(p) for p in children))

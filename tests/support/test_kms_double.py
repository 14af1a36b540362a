"""The double of KMS does what AWS's documentation says, and what moto does where moto can."""
import hashlib
import http.client
import json
import os
import signal
import subprocess
import threading

import boto3
import pytest
from botocore.config import Config

from .aws import Moto
from .aws_client import AwsClient, AwsError, b64, unb64
from .kms_double import KmsDouble
from .process import eventually, python_env, start_json, stop, venv_python
from .signatures import COMBINATIONS, hash_name, verifies

ONE, TWO = "us-east-1", "us-west-2"


@pytest.fixture(scope="module")
def started():
    with KmsDouble([ONE, TWO]) as double:
        yield double


@pytest.fixture
def kms(started):
    started.reset()
    yield started
    started.heal()


@pytest.fixture(scope="module")
def moto():
    with Moto() as parts:
        yield parts


@pytest.fixture
def one(kms):
    return AwsClient("kms", ONE, kms.url(ONE))


@pytest.fixture
def two(kms):
    return AwsClient("kms", TWO, kms.url(TWO))


def signer(client, spec="ECC_NIST_P256", **more):
    return client("CreateKey", KeySpec=spec, KeyUsage="SIGN_VERIFY", **more)["KeyMetadata"]


def sign(client, key, data=b"hello", algorithm="ECDSA_SHA_256", kind="DIGEST"):
    digest = hashlib.new(hash_name(algorithm), data).digest()
    return client("Sign", KeyId=key, Message=b64(digest if kind == "DIGEST" else data), MessageType=kind, SigningAlgorithm=algorithm)


def refused(client, operation, **fields):
    """The name of the error."""
    with pytest.raises(AwsError) as caught:
        client(operation, **fields)
    return caught.value.kind


# -- signatures

@pytest.mark.parametrize("spec", COMBINATIONS)
def test_every_combination_verifies_with_another_library_over_messages_and_digests(one, spec):
    key = signer(one, spec)
    told = one("GetPublicKey", KeyId=key["KeyId"])
    assert told["KeyId"] == key["Arn"] and told["KeySpec"] == spec and told["SigningAlgorithms"] == COMBINATIONS[spec] == key["SigningAlgorithms"]
    public = unb64(told["PublicKey"])
    for algorithm in COMBINATIONS[spec]:
        for kind in ("RAW", "DIGEST"):
            made = sign(one, key["KeyId"], b"hello", algorithm, kind)
            assert made["KeyId"] == key["Arn"] and made["SigningAlgorithm"] == algorithm
            signature = unb64(made["Signature"])
            assert verifies(public, algorithm, b"hello", signature) and not verifies(public, algorithm, b"hullo", signature)
            assert "PSS" not in algorithm or not verifies(public, algorithm, b"hello", signature, salt=20)
            assert one("Verify", KeyId=key["KeyId"], Message=b64(b"hello"), Signature=made["Signature"], SigningAlgorithm=algorithm)["SignatureValid"]
            assert refused(one, "Verify", KeyId=key["KeyId"], Message=b64(b"hullo"), Signature=made["Signature"],
                           SigningAlgorithm=algorithm) == "KMSInvalidSignatureException"


@pytest.mark.parametrize("fields, error", [
    ({"Message": b64(b"x" * 31)}, "ValidationException"),
    ({"Message": b64(b"x" * 48)}, "ValidationException"),
    ({"Message": b64(b"x" * 48), "SigningAlgorithm": "ECDSA_SHA_384"}, "InvalidKeyUsageException"),
    ({"SigningAlgorithm": "RSASSA_PSS_SHA_256"}, "InvalidKeyUsageException"),
    ({"SigningAlgorithm": "ECDSA_SHA_1"}, "ValidationException"),
    ({"MessageType": "HASH"}, "ValidationException"),
    ({"Message": ""}, "ValidationException"),
    ({"Message": b64(b"x" * 4097), "MessageType": "RAW"}, "ValidationException"),
    ({"DryRun": True}, "DryRunOperationException"),
    ({"KeyId": "alias/none"}, "NotFoundException"),
    ({"KeyId": "arn:aws:kms:us-west-2:111122223333:key/x"}, "NotFoundException"),
    ({"KeyId": "arn:nonsense"}, "InvalidArnException"),
])
def test_what_does_not_fit_is_refused(one, fields, error):
    key = signer(one)["KeyId"]
    assert refused(one, "Sign", **{"KeyId": key, "Message": b64(b"x" * 32), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256", **fields}) == error


# -- names

def test_aliases_come_in_pages_and_filtered_by_key(kms, one, two):
    key, other = signer(one)["KeyId"], signer(one)["KeyId"]
    for n in range(230):
        kms.call(ONE, "CreateAlias", AliasName=f"alias/f/{n:03}", TargetKeyId=signer(one)["KeyId"] if n % 40 == 0 else kms.keys(ONE)[n // 40 + 2]["id"])
    one("CreateAlias", AliasName="alias/of", TargetKeyId=key)
    seen, marker, pages = [], {}, 0
    while True:
        told = one("ListAliases", Limit=100, **marker)
        seen += [a["AliasName"] for a in told["Aliases"]]
        pages += 1
        assert told["Truncated"] == ("NextMarker" in told)
        if not told["Truncated"]:
            break
        marker = {"Marker": told["NextMarker"]}
    assert pages == 3 and len(seen) == len(set(seen)) == 231
    assert len(one("ListAliases")["Aliases"]) == 50
    assert [a["AliasName"] for a in one("ListAliases", KeyId=key)["Aliases"]] == ["alias/of"] and one("ListAliases", KeyId=other)["Aliases"] == []
    assert two("ListAliases")["Aliases"] == []
    assert {refused(one, "ListAliases", Limit=n) for n in (0, 101)} == {"ValidationException"}
    assert refused(one, "ListAliases", Marker="made up") == "InvalidMarkerException"


def test_boto3_reads_pages_dates_and_errors(kms):
    client = boto3.client("kms", region_name=ONE, endpoint_url=kms.url(ONE), aws_access_key_id="test", aws_secret_access_key="test",
                          config=Config(retries={"max_attempts": 0}, proxies={}))
    keys = [client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]["KeyId"] for _ in range(5)]
    for n, key in enumerate(keys):
        client.create_alias(AliasName=f"alias/{n}", TargetKeyId=key)
    pages = list(client.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(p["Aliases"]) for p in pages] == [2, 2, 1] and abs(pages[0]["Aliases"][0]["LastUpdatedDate"].timestamp() - kms.now()) < 60
    assert sorted(k["KeyId"] for p in client.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}) for k in p["Keys"]) == sorted(keys)
    assert client.list_resource_tags(KeyId=keys[0])["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    with pytest.raises(client.exceptions.NotFoundException):
        client.describe_key(KeyId="alias/none")
    kms.fault(operation="DescribeKey", error="KMSInternalException")
    with pytest.raises(client.exceptions.KMSInternalException) as caught:
        client.describe_key(KeyId=keys[0])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500 and caught.value.response["ResponseMetadata"]["RequestId"]


def test_only_a_written_alias_looks_young(kms, one):
    keys = [signer(one)["KeyId"] for _ in range(2)]
    for n, key in enumerate(keys):
        one("CreateAlias", AliasName=f"alias/{n}", TargetKeyId=key)
    begun = kms.now()
    kms.advance(days=14)
    one("UpdateAlias", AliasName="alias/1", TargetKeyId=keys[1])
    old, young = one("ListAliases")["Aliases"]
    assert abs(old["LastUpdatedDate"] - begun) < 60 and abs(young["LastUpdatedDate"] - begun - 14 * 86400) < 60
    assert abs(young["CreationDate"] - begun) < 60


def test_an_alias_keeps_to_its_kind_of_key(one):
    ec_key, rsa_key, symmetric = signer(one)["KeyId"], signer(one, "RSA_2048")["KeyId"], one("CreateKey")["KeyMetadata"]["KeyId"]
    one("CreateAlias", AliasName="alias/x", TargetKeyId=ec_key)
    one("UpdateAlias", AliasName="alias/x", TargetKeyId=rsa_key)
    assert refused(one, "UpdateAlias", AliasName="alias/x", TargetKeyId=symmetric) == "ValidationException"
    assert one("DescribeKey", KeyId="alias/x")["KeyMetadata"]["KeyId"] == rsa_key


# -- the end of keys

def test_a_key_pending_deletion_does_nothing_and_goes_with_its_aliases_when_the_time_is_over(kms, one):
    old, new = signer(one), signer(one)
    for name in ("alias/gone", "alias/moved"):
        one("CreateAlias", AliasName=name, TargetKeyId=old["KeyId"])
    assert {refused(one, "ScheduleKeyDeletion", KeyId=old["KeyId"], PendingWindowInDays=n) for n in (6, 31)} == {"ValidationException"}
    told = one("ScheduleKeyDeletion", KeyId=old["KeyId"], PendingWindowInDays=7)
    assert told["KeyId"] == old["Arn"] and told["KeyState"] == "PendingDeletion" and abs(told["DeletionDate"] - kms.now() - 7 * 86400) < 60
    for operation, fields in [("ScheduleKeyDeletion", {}), ("GetPublicKey", {}), ("EnableKey", {}), ("DisableKey", {}), ("TagResource", {"Tags": []})]:
        assert refused(one, operation, KeyId=old["KeyId"], **fields) == "KMSInvalidStateException", operation
    with pytest.raises(AwsError, match="KMSInvalidStateException"):
        sign(one, old["KeyId"])
    assert refused(one, "CreateAlias", AliasName="alias/y", TargetKeyId=old["KeyId"]) == "KMSInvalidStateException"
    one("UpdateAlias", AliasName="alias/moved", TargetKeyId=new["KeyId"])
    assert refused(one, "UpdateAlias", AliasName="alias/moved", TargetKeyId=old["KeyId"]) == "KMSInvalidStateException"
    kms.advance(days=6, hours=23)
    assert one("DescribeKey", KeyId=old["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
    kms.advance(hours=2)
    assert refused(one, "DescribeKey", KeyId=old["KeyId"]) == "NotFoundException"
    assert [a["AliasName"] for a in one("ListAliases")["Aliases"]] == ["alias/moved"]


def test_a_cancelled_deletion_leaves_a_disabled_key(one):
    key = signer(one)["KeyId"]
    assert refused(one, "CancelKeyDeletion", KeyId=key) == "KMSInvalidStateException"
    one("ScheduleKeyDeletion", KeyId=key)
    one("CancelKeyDeletion", KeyId=key)
    with pytest.raises(AwsError, match="DisabledException"):
        sign(one, key)
    assert refused(one, "GetPublicKey", KeyId=key) == "DisabledException"
    one("EnableKey", KeyId=key)
    sign(one, key)


def test_a_replica_signs_with_the_same_key_once_it_is_ready(kms, one, two):
    kms.set_creating(5)
    key = signer(one, MultiRegion=True)
    assert key["KeyId"].startswith("mrk-")
    made = one("ReplicateKey", KeyId=key["KeyId"], ReplicaRegion=TWO)["ReplicaKeyMetadata"]
    assert made["Arn"] == key["Arn"].replace(ONE, TWO) and made["KeyState"] == "Creating"
    with pytest.raises(AwsError, match="KMSInvalidStateException"):
        sign(two, made["Arn"])
    kms.advance(seconds=5)
    public = unb64(one("GetPublicKey", KeyId=key["KeyId"])["PublicKey"])
    assert verifies(public, "ECDSA_SHA_256", b"hello", unb64(sign(two, made["Arn"])["Signature"]))
    assert refused(one, "ReplicateKey", KeyId=key["KeyId"], ReplicaRegion=TWO) == "AlreadyExistsException"
    assert refused(one, "ReplicateKey", KeyId=signer(one)["KeyId"], ReplicaRegion=TWO) == "UnsupportedOperationException"


def test_a_primary_waits_for_the_end_of_its_replicas(kms, one, two):
    key = signer(one, MultiRegion=True)["KeyId"]
    one("ReplicateKey", KeyId=key, ReplicaRegion=TWO)
    told = one("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert told["KeyState"] == "PendingReplicaDeletion" and "DeletionDate" not in told
    assert refused(one, "ScheduleKeyDeletion", KeyId=key) == "KMSInvalidStateException"
    sign(two, key)
    kms.advance(days=8)
    two("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    kms.advance(days=7, hours=1)
    assert refused(two, "DescribeKey", KeyId=key) == "NotFoundException"
    assert one("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    kms.advance(days=7)
    assert refused(one, "DescribeKey", KeyId=key) == "NotFoundException"


@pytest.mark.parametrize("fields, error", [
    ({"Policy": "{"}, "MalformedPolicyDocumentException"),
    ({"Policy": json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}]})}, "MalformedPolicyDocumentException"),
    ({"Tags": [{"TagKey": "aws:x", "TagValue": ""}]}, "TagException"),
    ({"Tags": [{"TagKey": "x", "TagValue": "1"}, {"TagKey": "x", "TagValue": "2"}]}, "TagException"),
    ({"Tags": [{"TagKey": f"x{n}", "TagValue": ""} for n in range(51)]}, "LimitExceededException"),
    ({"Description": "x" * 8193}, "ValidationException"),
    ({"KeyUsage": "ENCRYPT_DECRYPT"}, "ValidationException"),
])
def test_no_key_is_made_of_a_request_that_is_refused(kms, one, fields, error):
    assert refused(one, "CreateKey", **{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", **fields}) == error
    assert kms.keys() == []


# -- where moto knows

def told_by(client):
    """The same doings at any KMS: the errors that come, and what stays. Ids and times left out."""
    seen = []

    def tries(operation, *wanted, **fields):
        try:
            answer = client(operation, **fields)
        except AwsError as e:
            seen.append((operation, e.status, e.kind))
            return {}
        row = (answer or {}).get("KeyMetadata", answer or {})
        seen.append((operation, {name: row.get(name) or None for name in wanted}))
        return row

    facts = ("KeyState", "Enabled", "KeySpec", "KeyUsage", "SigningAlgorithms", "EncryptionAlgorithms", "Description", "Origin", "KeyManager")
    ec_key = tries("CreateKey", *facts, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="d")["KeyId"]
    other = tries("CreateKey", *facts, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyId"]
    data = tries("CreateKey", *facts, KeyUsage="ENCRYPT_DECRYPT")["KeyId"]
    tries("CreateAlias", AliasName="alias/agreed", TargetKeyId=ec_key)
    tries("CreateAlias", AliasName="alias/agreed", TargetKeyId=other)
    tries("CreateAlias", AliasName="alias/aws/s3", TargetKeyId=other)
    tries("CreateAlias", AliasName="alias/a b", TargetKeyId=other)
    tries("CreateAlias", AliasName="alias/other", TargetKeyId="no such key")
    tries("DescribeKey", *facts, KeyId="alias/agreed")
    tries("DescribeKey", KeyId="alias/none")
    tries("UpdateAlias", AliasName="alias/agreed", TargetKeyId=other)
    tries("DescribeKey", *facts, KeyId="alias/agreed")
    tries("UpdateAlias", AliasName="alias/none", TargetKeyId=other)
    tries("GetPublicKey", "KeyUsage", "SigningAlgorithms", KeyId="alias/agreed")
    tries("Sign", "SigningAlgorithm", KeyId=ec_key, Message=b64(b"hello"), MessageType="RAW", SigningAlgorithm="ECDSA_SHA_256")
    tries("Sign", KeyId=ec_key, Message=b64(b"hello"), MessageType="RAW", SigningAlgorithm="SHA")
    tries("Sign", KeyId="no such key", Message=b64(b"hello"), MessageType="RAW", SigningAlgorithm="ECDSA_SHA_256")
    tries("GenerateDataKey", KeyId=data, KeySpec="AES_257")
    tries("TagResource", KeyId=ec_key, Tags=[{"TagKey": "a", "TagValue": "b"}])
    tries("ListResourceTags", "Tags", KeyId=ec_key)
    tries("PutKeyPolicy", KeyId="no such key", PolicyName="default", Policy="{}")
    tries("GetKeyPolicy", KeyId="no such key", PolicyName="default")
    tries("DisableKey", KeyId=data)
    tries("DescribeKey", *facts, KeyId=data)
    tries("GenerateDataKey", KeyId=data, KeySpec="AES_256")
    tries("EnableKey", KeyId=data)
    tries("ScheduleKeyDeletion", KeyId=data, PendingWindowInDays=7)
    tries("DescribeKey", *facts, KeyId=data)
    tries("GenerateDataKey", KeyId=data, KeySpec="AES_256")
    tries("CancelKeyDeletion", KeyId=data)
    tries("DescribeKey", *facts, KeyId=data)
    tries("DeleteAlias", AliasName="alias/agreed")
    tries("DeleteAlias", AliasName="alias/agreed")
    return seen


def test_where_moto_knows_the_double_says_the_same(one, moto):
    assert told_by(one) == told_by(moto.client("kms", ONE))


def test_each_verifies_what_the_other_has_signed_as_a_message(one, moto):
    theirs = moto.client("kms", ONE)
    for signing in (one, theirs):
        key = signer(signing)["KeyId"]
        public = unb64(signing("GetPublicKey", KeyId=key)["PublicKey"])
        assert verifies(public, "ECDSA_SHA_256", b"hello", unb64(sign(signing, key, kind="RAW")["Signature"]))


def test_data_keys_are_bound_to_context_and_key(one, two):
    key, context = one("CreateKey", MultiRegion=True)["KeyMetadata"]["KeyId"], {"a": "bc"}
    one("ReplicateKey", KeyId=key, ReplicaRegion=TWO)
    made = one("GenerateDataKey", KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    for client in (one, two):
        assert client("Decrypt", CiphertextBlob=made["CiphertextBlob"], KeyId=key, EncryptionContext=context)["Plaintext"] == made["Plaintext"]
    assert refused(one, "Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"ab": "c"}) == "InvalidCiphertextException"
    other = one("CreateKey")["KeyMetadata"]["KeyId"]
    assert refused(one, "Decrypt", CiphertextBlob=made["CiphertextBlob"], KeyId=other, EncryptionContext=context) == "IncorrectKeyException"
    assert refused(one, "Encrypt", KeyId=other, Plaintext=b64(b"x"), DryRun=True) == "DryRunOperationException"
    assert refused(one, "Sign", KeyId=other, Message=b64(b"x"), SigningAlgorithm="ECDSA_SHA_256") == "InvalidKeyUsageException"


# -- faults, signatures of requests, control

@pytest.mark.parametrize("when, made", [("before", 0), ("after", 1)])
@pytest.mark.parametrize("do, seen", [("error", AwsError), ("close", (http.client.HTTPException, OSError))])
def test_a_call_fails_before_or_after_it_took_effect(kms, one, when, made, do, seen):
    kms.fault(operation="CreateKey", when=when, do=do, nth=2)
    signer(one)
    with pytest.raises(seen):
        signer(one)
    signer(one)
    assert len(kms.keys()) == 2 + made and len(kms.orphans()) == 2 + made
    assert [c.effect for c in kms.log("CreateKey")] == [True, bool(made), True]
    assert [c.error for c in kms.log("CreateKey")] == [None, "KMSInternalException" if do == "error" else "closed", None]


def test_what_hangs_goes_on_when_it_is_released(kms, one):
    key = signer(one)["KeyId"]
    kms.fault(operation="Sign", do="hang", about=key)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(sign(one, key)))
    waiting.start()
    eventually(lambda: kms.faults.hanging() == 1)
    assert sign(AwsClient("kms", ONE, kms.any_url), key) and not answers
    kms.release()
    waiting.join(10)
    assert len(answers) == 1


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_a_region_that_is_out_comes_back_at_the_same_port(kms, one, two, how):
    signer(one)
    kms.out(ONE, how)
    for port in (kms.url(ONE), kms.any_url):
        with pytest.raises((http.client.HTTPException, OSError)):
            AwsClient("kms", ONE, port, timeout=0.2)("ListKeys")
    two("ListKeys")
    kms.heal()
    assert len(AwsClient("kms", ONE, kms.url(ONE))("ListKeys")["Keys"]) == 1


def test_a_hook_runs_at_its_call_and_others_are_not_logged(kms, one):
    seen = []
    kms.hook(lambda call: seen.append((call.operation, len(kms.keys()))), operation="CreateKey", when="after")
    key = signer(one)["KeyId"]
    kms.call(ONE, "DisableKey", KeyId=key)
    assert seen == [("CreateKey", 1)] and kms.counts() == {"CreateKey": 1} and kms.counts(TWO) == {}


def test_requests_must_be_signed_for_the_region(kms):
    for client, error in [(AwsClient("kms", ONE, kms.url(ONE), secret="wrong"), "InvalidSignatureException"),
                          (AwsClient("kms", ONE, kms.url(ONE), access_key="who"), "UnrecognizedClientException"),
                          (AwsClient("kms", TWO, kms.url(ONE)), "InvalidSignatureException"),
                          (AwsClient("kms", "eu-west-1", kms.any_url), "InvalidSignatureException")]:
        assert refused(client, "ListKeys") == error
    assert kms.counts() == {}


def test_the_program_is_controlled_over_http_and_kills_at_a_call():
    process, ports = start_json([venv_python(), "-m", "support.kms_double", "--regions", ONE, "--aws-aliases", "s3"], env=python_env())
    victim = subprocess.Popen(["sleep", "60"])
    try:
        client = AwsClient("kms", ONE, f"http://127.0.0.1:{ports['regions'][ONE]}")

        def control(verb, path, **fields):
            connection = http.client.HTTPConnection("127.0.0.1", ports["control"], timeout=10)
            connection.request(verb, path, json.dumps(fields) if verb == "POST" else None)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            connection.close()
            assert reply.status == 200, answer
            return answer

        assert [sorted(a) for a in client("ListAliases")["Aliases"]] == [["AliasArn", "AliasName"]]
        control("POST", "/fault", operation="CreateKey", when="after", do="kill", pid=victim.pid)
        with pytest.raises((http.client.HTTPException, OSError)):
            signer(client)
        assert victim.wait(10) == -signal.SIGKILL
        assert len(control("GET", "/orphans")) == 1 and control("GET", "/counts") == {"ListAliases": 1, "CreateKey": 1}
        control("POST", "/call", region=ONE, operation="ScheduleKeyDeletion", fields={"KeyId": control("GET", "/keys")[0]["id"], "PendingWindowInDays": 7})
        assert control("GET", "/orphans") == []
        control("POST", "/advance", days=8)
        assert control("GET", "/keys") == [] and [c["error"] for c in control("GET", "/log")] == [None, "closed"]
    finally:
        victim.kill()
        victim.wait()
        stop(process)


def test_the_launcher_tells_where_the_double_is():
    done = subprocess.run(["python3", os.path.join(os.path.dirname(__file__), "with_signing_kms.py"), "--", "env"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "KEYFS_TEST_PYTHON": venv_python()})
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert done.returncode == 0 and told["KEYFS_TEST_SIGNING_REGIONS"] == "2" and told["KEYFS_TEST_SIGNING_REGION_2"] == TWO
    assert all(told[f"KEYFS_TEST_SIGNING_{name}"].startswith("http://127.0.0.1:") for name in ("1", "2", "ANY", "CONTROL"))

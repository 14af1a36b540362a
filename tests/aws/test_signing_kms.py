"""Signing keys in KMS (the double of support/kms_double), used as files of a mounted keyfs."""
import base64
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import cloud
import signing
from mount.seen import error_name, within
from signing import ONE, PREFIX, TWO
from support.kms_double import KmsDouble
from support.process import eventually
from support.signatures import COMBINATIONS, verifies

WRITES = {"CreateKey", "ReplicateKey", "CreateAlias", "UpdateAlias", "DeleteAlias", "ScheduleKeyDeletion", "DisableKey", "EnableKey"}


@pytest.fixture
def kms():
    with KmsDouble([ONE, TWO]) as double:
        yield double


@pytest.fixture
def configured(make_daemon, folder, kms):
    """configured(regions=..., keyfs=..., other entries of [signing]) -> a Daemon, not yet started."""

    def make(**options):
        return make_daemon(signing.sections(folder, kms, **options), env=cloud.CREDENTIALS)

    return make


@pytest.fixture
def running(configured, kms):
    """running(ids, ...) -> a running daemon that knows the public keys of these ids, which somebody made before; the log is empty."""

    def make(*ids, **options):
        for ident in ids or ("ca",):
            signing.existing(kms, ident, options.get("regions"))
        daemon = configured(**options).start()
        known(daemon, kms, ids or ("ca",))
        for ident in ids or ("ca",):
            signing.public(daemon, ident)
        kms.forget_log()
        return daemon

    return make


def known(keyfs, kms, ids, on_disk=False):
    """Waits until it has read its names, and the public keys unless it has them."""
    def read():
        counts = kms.counts()
        return (sorted(os.listdir(signing.path(keyfs, ""))) == sorted(ids) and counts.get("GetPublicKey", 0) >= (0 if on_disk else len(ids))
                and all(c.error is None for c in kms.log()))

    eventually(read, 20, f"{ids} are known")


def public_at(kms, ident="ca", region=ONE):
    """What KMS says that the id's public key is now."""
    return base64.b64decode(kms.call(region, "GetPublicKey", KeyId=PREFIX + ident)["PublicKey"])


def writes(kms):
    return [c.operation for c in kms.log() if c.operation in WRITES]


# -- signing

@pytest.mark.parametrize("kind", signing.SPECS)
def test_what_a_file_holds_is_the_keys_signature_over_the_digest_that_it_is_named_by(configured, kms, kind):
    keyfs = configured(key_tags=["team=pki", "env=prod"])
    made = signing.create(keyfs, "ca", kind)
    kms.forget_log()  # the command has asked for a name that was not there
    keyfs.start()
    public = signing.public(keyfs, "ca")
    assert public == public_at(kms) and made["fingerprint"] == signing.fingerprint(public) == signing.read(keyfs, "ca", "fingerprint").decode().strip()
    assert signing.read(keyfs, "ca", "type").decode().strip() == kind == made["type"]
    assert signing.read(keyfs, "ca", "algorithms").decode().split() == COMBINATIONS[signing.SPECS[kind]]
    known(keyfs, kms, ["ca"], on_disk=True)
    kms.forget_log()
    for algorithm in COMBINATIONS[signing.SPECS[kind]]:
        for pinned in (None, made["fingerprint"]):
            data = f"{algorithm} {pinned}".encode()
            assert verifies(public, algorithm, data, signing.sign(keyfs, "ca", data, algorithm, pinned))
    asked = [c for c in kms.log("Sign") if c.error is None]
    assert {c.fields["MessageType"] for c in asked} == {"DIGEST"} and set(kms.counts()) == {"Sign"}
    count = 2 * len(COMBINATIONS[signing.SPECS[kind]])
    lines = eventually(lambda: (found := [line for line in keyfs.audit() if line.get("request")]) and len(found) == count and found, 20, "all are in the audit")
    assert {line["request"] for line in lines} <= {c.request_id for c in asked} and {line["fingerprint"] for line in lines} == {made["fingerprint"]}
    assert {line["region"] for line in lines} <= {ONE, TWO}


def test_a_key_that_is_made_while_it_runs_signs_at_once(configured, kms):
    keyfs = configured().start()
    signing.create(keyfs, "new")
    signature = signing.sign(keyfs, "new", b"first")
    assert verifies(signing.public(keyfs, "new"), "ECDSA_SHA_256", b"first", signature)


def test_a_new_key_carries_its_owner_and_is_in_all_regions_and_named_in_the_first(configured, kms):
    keyfs = configured(key_tags=["team=pki", "env=prod"])
    signing.create(keyfs, "ca")
    one, two = kms.keys(ONE), kms.keys(TWO)
    assert len(one) == len(two) == 1 and one[0]["id"] == two[0]["id"] and one[0]["id"].startswith("mrk-")
    assert one[0]["aliases"] == [PREFIX + "ca"] and re.fullmatch(signing.DESCRIPTION + "ca/[0-9a-f]{32}", one[0]["description"])
    assert one[0]["tags"] == {"team": "pki", "env": "prod"}
    assert kms.orphans() == []


def test_a_replica_that_is_not_ready_yet_does_not_stop_a_creation(configured, kms):
    kms.set_creating(2)
    signing.create(configured(), "ca")
    assert kms.target(ONE, PREFIX + "ca") and kms.orphans() == []


# -- regions that are out

@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_signing_goes_on_in_the_other_region_when_the_first_is_out(running, kms, how):
    keyfs = running(keyfs={"open_deadline": "30s"})
    public = signing.public(keyfs, "ca")
    for n in range(5):
        signing.sign(keyfs, "ca", b"warm %d" % n)
    kms.out(ONE, how)
    kms.forget_log()
    with within(8, "ten signatures"):
        for n in range(10):
            with within(4, "a signature"):
                assert verifies(public, "ECDSA_SHA_256", b"out %d" % n, signing.sign(keyfs, "ca", b"out %d" % n))
    assert len(kms.log("Sign", TWO)) >= 10 and {c.error for c in kms.log("Sign", TWO)} == {None}
    kms.heal()


def test_with_all_regions_out_it_is_a_time_out_by_the_deadline(running, kms):
    keyfs = running(keyfs={"open_deadline": "2s"})
    for region in kms.regions:
        kms.out(region, "hang")
    with within(6, "four opens"):
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda n: error_name(signing.sign, keyfs, "ca", b"%d" % n), range(4))) == {"ETIMEDOUT"}
    kms.heal()
    assert eventually(lambda: error_name(signing.sign, keyfs, "ca", b"again") is None, 30, "it signs again")


def test_a_throttled_region_is_asked_again(running, kms):
    keyfs = running(regions=[ONE])
    kms.fault(operation="Sign", error="ThrottlingException", times=2)
    assert verifies(signing.public(keyfs, "ca"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
    assert [c.error for c in kms.log("Sign")] == ["ThrottlingException"] * 2 + [None]


@pytest.mark.parametrize("fault", [{"do": "close", "when": "after"}, {"do": "close"}, {"error": "KMSInternalException"}, {"error": "DependencyTimeoutException"}])
def test_a_lost_reply_is_asked_for_again(running, kms, fault):
    keyfs = running(regions=[ONE])
    kms.fault(operation="Sign", **fault)
    assert verifies(signing.public(keyfs, "ca"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
    assert len(kms.log("Sign")) == 2


def test_a_signature_that_does_not_verify_is_never_handed_out(running, kms):
    keyfs = running("ca", "alone")
    wrong = signing.existing(kms, "wrong", [ONE])
    for ident, regions in (("ca", [ONE]), ("alone", [ONE, TWO])):
        for region in regions:
            with kms.state.lock:
                key = kms.state.find(region, kms.target(ONE, PREFIX + ident).split("/")[1])
                key.material = kms.state.find(ONE, wrong).material
    assert error_name(signing.sign, keyfs, "alone", b"x") == "EBADMSG"
    assert verifies(signing.public(keyfs, "ca"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x")), "the other region's is good"


# -- keys that somebody else changed

@pytest.mark.parametrize("operation, fields", [("DisableKey", {}), ("ScheduleKeyDeletion", {"PendingWindowInDays": 7})])
def test_a_key_that_may_not_sign_any_more_is_revoked(running, kms, operation, fields):
    keyfs = running(regions=[ONE])
    signing.sign(keyfs, "ca", b"before")
    kms.call(ONE, operation, KeyId=kms.target(ONE, PREFIX + "ca"), **fields)
    kms.forget_log()
    assert error_name(signing.sign, keyfs, "ca", b"after") == "EKEYREVOKED"
    assert len(kms.log("Sign")) <= 1, "it is not asked again"


def test_a_key_that_is_revoked_in_one_region_signs_in_the_other(running, kms):
    keyfs = running()
    kms.call(ONE, "DisableKey", KeyId=kms.target(ONE, PREFIX + "ca"))
    assert verifies(signing.public(keyfs, "ca"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
    kms.call(TWO, "DisableKey", KeyId=kms.target(ONE, PREFIX + "ca").replace(ONE, TWO))
    assert error_name(signing.sign, keyfs, "ca", b"y") == "EKEYREVOKED"


def test_a_name_that_somebody_moved_is_served_as_it_is_now_and_never_moved_back(running, kms):
    keyfs = running(regions=[ONE])
    before = signing.public(keyfs, "ca")
    other = kms.call(ONE, "CreateKey", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="somebody's")["KeyMetadata"]["KeyId"]
    kms.call(ONE, "UpdateAlias", AliasName=PREFIX + "ca", TargetKeyId=other)
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: signing.public(keyfs, "ca") == public_at(kms) != before, 20, "it serves the key that the name refers to")
    assert verifies(public_at(kms), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
    assert error_name(signing.sign, keyfs, "ca", b"x", "ECDSA_SHA_256", signing.fingerprint(before)) == "ESTALE"
    assert writes(kms) == [] and kms.target(ONE, PREFIX + "ca").endswith(other)


def test_a_rotation_puts_a_new_key_in_its_place_and_deletes_the_old_one_everywhere(running, kms):
    keyfs = running(grace="0s")
    before, old = signing.public(keyfs, "ca"), kms.target(ONE, PREFIX + "ca").split("/")[1]
    assert signing.told(keyfs, "rotate", "ca")["before"] == signing.fingerprint(before)
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: signing.public(keyfs, "ca") == public_at(kms) != before, 20, "it serves the new key")
    assert verifies(public_at(kms), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
    eventually(lambda: kms.orphans() == [], 20, "the old one is pending deletion")
    rows = {k["region"]: k for k in kms.keys() if k["id"] == old}
    assert (rows[ONE]["state"], rows[TWO]["state"]) == ("PendingReplicaDeletion", "PendingDeletion")
    assert abs(rows[TWO]["due"] - kms.now() - 7 * 86400) < 300


def test_sixteen_signers_never_see_a_signature_of_another_key_than_the_one_they_name(running, kms):
    keyfs = running(regions=[ONE], grace="1h", keys_per_hour=100)
    prints, wrong, done = {signing.fingerprint(signing.public(keyfs, "ca"))}, [], []

    def signer(number):
        n = 0
        while not done:
            n += 1
            data, public = b"%d %d" % (number, n), signing.public(keyfs, "ca")
            pinned = signing.fingerprint(public)
            try:
                if not verifies(public, "ECDSA_SHA_256", data, signing.sign(keyfs, "ca", data, pinned=pinned)):
                    wrong.append(data)
            except OSError as e:
                if error_name(signing.sign, keyfs, "ca", data, "ECDSA_SHA_256", pinned) not in ("ESTALE", None):
                    wrong.append(e)
        return n

    with ThreadPoolExecutor(16) as pool:
        counts = [pool.submit(signer, n) for n in range(16)]
        try:
            for _ in range(5):
                made = signing.told(keyfs, "rotate", "ca")
                keyfs.process.send_signal(signal.SIGHUP)
                eventually(lambda: signing.fingerprint(signing.public(keyfs, "ca")) == made["fingerprint"], 20, "the new key")
                prints.add(made["fingerprint"])
        finally:
            done.append(True)
    assert not wrong and len(prints) == 6 and all(c.result() > 0 for c in counts)


def test_signing_does_not_wait_for_a_key_that_is_being_made(running, kms):
    keyfs = running(regions=[ONE])
    before = signing.public(keyfs, "ca")
    kms.fault(operation="CreateKey", do="hang")
    with signing.begin(keyfs, "rotate", "ca") as rotation:
        eventually(lambda: kms.faults.hanging() == 1, 20, "the creation hangs")
        with within(3, "five signatures"):
            for n in range(5):
                assert verifies(before, "ECDSA_SHA_256", b"%d" % n, signing.sign(keyfs, "ca", b"%d" % n))
        kms.release()
        assert rotation.wait(60) == 0
    assert public_at(kms) != before


# -- what asks nobody

LOOKS = [["find", ".keyfs/sign"], ["ls", "-laR", ".keyfs/sign"], ["grep", "-r", "x", ".keyfs/sign"], ["git", "status"], ["stat", ".keyfs/sign/ca/pub.der"],
         ["sh", "-c", "test -e .keyfs/sign/ca/ECDSA_SHA_256/" + "a" * 64], ["stat", ".keyfs/sign/ca/ECDSA_SHA_256/" + "b" * 64],
         ["sh", "-c", "echo .keyfs/sign/*/*/*"], ["find", "."]]


def test_looking_signs_nothing_and_asks_nobody(running, kms):
    keyfs = running("ca", "jwt", "tls")
    for look in LOOKS:
        subprocess.run(look, cwd=keyfs.mount, capture_output=True, timeout=60)
        assert kms.counts() == {}, look
    assert signing.sign(keyfs, "ca", b"x") and set(kms.counts()) == {"Sign"}


@pytest.mark.parametrize("more", [("ECDSA_SHA_384", "a" * 96), ("ECDSA_SHA_256", "a" * 63), ("ECDSA_SHA_256", "a" * 96), ("ECDSA_SHA_256", "g" * 64),
                                  ("RSASSA_PSS_SHA_256", "a" * 64), ("nonsense", "a" * 64)])
def test_what_cannot_be_signed_is_not_there_and_asks_nobody(running, kms, more):
    keyfs = running()
    assert error_name(signing.read, keyfs, "ca", *more) == "ENOENT"
    assert kms.counts() == {}


# -- the start

def others_aliases(kms, count):
    """Aliases of others, of which some look much like ours."""
    names = ["alias/KEYFS/default2/ca", "alias/KEYFS/defaul/ca", "alias/keyfs/default/ca", "alias/KEYFS_default/ca", "alias/KEYFS/default", "alias/SPIRE_SERVER/default/ca"]
    names += [f"alias/app/{n}" for n in range(count - len(names))]
    for n, name in enumerate(names):
        if n % 50 == 0:
            key = kms.call(ONE, "CreateKey", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        kms.call(ONE, "CreateAlias", AliasName=name, TargetKeyId=key)


def test_a_start_among_500_aliases_reads_five_pages_and_our_four_keys_and_later_none(configured, kms):
    others_aliases(kms, 496)
    ids = ["ca", "jwt", "a.b", "a_2eb"]
    keys = {}
    for ident, written in zip(ids, ["ca", "jwt", "a_2eb", "a_5f2eb"]):
        keys[ident] = signing.existing(kms, written, [ONE])
    keyfs = configured(regions=[ONE]).start()
    known(keyfs, kms, ids)
    assert kms.counts() == {"ListAliases": 5, "GetPublicKey": 4}
    public = {ident: signing.public(keyfs, ident) for ident in ids}
    assert {ident: base64.b64decode(kms.call(ONE, "GetPublicKey", KeyId=keys[ident])["PublicKey"]) for ident in ids} == public
    kms.forget_log()
    keyfs.restart()
    known(keyfs, kms, ids, on_disk=True)
    assert {ident: signing.public(keyfs, ident) for ident in ids} == public
    assert kms.counts() == {"ListAliases": 5}


def test_a_disabled_key_does_not_stop_the_start_and_is_named(configured, kms):
    for ident in ("good", "bad"):
        key = signing.existing(kms, ident, [ONE])
    kms.call(ONE, "DisableKey", KeyId=key)
    keyfs = configured(regions=[ONE]).start()
    assert verifies(signing.public(keyfs, "good"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "good", b"x"))
    assert error_name(signing.sign, keyfs, "bad", b"x") == "EKEYREVOKED"
    assert {k["id"]: k["state"] for k in json.loads(signing.command(keyfs, "list").stdout)["keys"]} == {"good": "enabled", "bad": "disabled"}


def test_keyfs_starts_and_serves_data_keys_while_kms_is_out_and_signs_when_it_is_back(configured, kms):
    signing.existing(kms, "ca", [ONE])
    kms.out(ONE, "hang")
    keyfs = configured(regions=[ONE], keyfs={"open_deadline": "2s"}).start()
    assert keyfs.read("orders")
    kms.heal()
    eventually(lambda: error_name(signing.sign, keyfs, "ca", b"x") is None, 40, "it signs")

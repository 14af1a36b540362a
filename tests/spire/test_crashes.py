"""GenerateKey that fails, or whose plugin is killed, at each of its calls to KMS, before and after it took effect. Afterwards there is no key without an alias
whose deletion is not scheduled, the key is the old one or the new one, whichever has the alias, and it signs."""
import base64
import glob
from hashlib import sha256

import grpc
import pytest

from support.process import eventually
from support.signatures import verifies
from support.spire_client import KEYS, TYPES, message, refused

REGION, ALIAS = "us-east-1", "alias/SPIRE_SERVER/example_org/srv1/a"
NO_GRACE = 'grace = "0s"'  # so that what was replaced is scheduled for deletion at once, and is not taken for left over


def calls_of(plugin, kms):
    """The calls of a GenerateKey in whose place nothing goes wrong, without what comes after its answer."""
    plugin.generate("a")
    kms.forget_log()
    plugin.generate("a")
    return list(dict.fromkeys(c.operation for c in kms.log() if c.operation != "ScheduleKeyDeletion"))


def der_of_the_alias(kms):
    return base64.b64decode(kms.call(REGION, "GetPublicKey", KeyId=kms.target(REGION, ALIAS))["PublicKey"])


def unfinished(tmp_path):
    return glob.glob(str(tmp_path / "state" / "*" / "begun" / "*.json"))


def all_is_well(plugin, kms, before):
    now = plugin.public_key("a")
    assert now.der == der_of_the_alias(kms), "the key is the one that has the alias"
    made, fingerprint = plugin.sign("a", sha256(b"x").digest())
    assert fingerprint == now.fingerprint and verifies(now.der, "ECDSA_SHA_256", b"x", made)
    assert now == before or plugin.public_keys() == {"a": now}
    return now


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_step_it_leaves_no_key_over_and_comes_up_with_the_one_that_has_the_alias(start, settings, kms, tmp_path, when):
    plugin = start(settings(more=NO_GRACE))
    steps = calls_of(plugin, kms)
    assert {"CreateKey", "GetPublicKey", "Sign", "UpdateAlias"} <= set(steps)
    lingering = set()
    for operation in steps:
        before = plugin.public_key("a")
        kms.fault(operation=operation, when=when, do="kill", pid=plugin.process.pid)
        assert refused(plugin.generate, "a")[0] in ("UNAVAILABLE", "CANCELLED"), operation
        assert plugin.process.wait(5) == -9, operation
        kms.heal()
        plugin = start(settings(more=NO_GRACE))
        now = all_is_well(plugin, kms, before)
        assert (now != before) == (operation == "UpdateAlias" and when == "after"), operation
        eventually(lambda: kms.orphans() == [], 5, f"killed {when} {operation}: nothing is left over")
        if operation == "CreateKey" and when == "before":
            lingering = set(unfinished(tmp_path))  # its key, of which nobody knows, is looked for on for ten minutes
            assert len(lingering) == 1
        eventually(lambda: set(unfinished(tmp_path)) == lingering, 5, f"killed {when} {operation}: it is finished")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_fails_leaves_no_key_over_and_the_old_one_signs_on(start, settings, kms, when):
    plugin = start(settings(more=NO_GRACE))
    for operation in calls_of(plugin, kms):
        before = plugin.public_key("a")
        fault = {"do": "close"} if when == "after" else {"error": "AccessDeniedException"}
        kms.fault(operation=operation, when=when, times=None, **fault)
        kind = TYPES["EC_P256"]
        moved = operation == "UpdateAlias" and when == "after"
        try:
            plugin.call(KEYS + "GenerateKey", message(f1="a", f2=kind), timeout=1.5)
            assert moved and plugin.public_key("a").der == der_of_the_alias(kms), f"{operation} failed {when} its effect, and GenerateKey did not"
        except grpc.RpcError as error:
            assert when == "after" or (error.code().name == "PERMISSION_DENIED" and operation in error.details()), error
        assert moved or plugin.public_key("a") == before
        kms.heal()
        eventually(lambda: kms.orphans() == [], 10, f"{operation} failed {when} its effect: nothing is left over")
        eventually(lambda: plugin.public_key("a").der == der_of_the_alias(kms), 5)
        all_is_well(plugin, kms, before)

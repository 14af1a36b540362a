"""`keyfs sign create` and `rotate` that fail, or are killed, at each of their calls to KMS, before and after it took effect. Whatever happened: there is no key
without an alias whose deletion is not scheduled, the name refers to a key that signs (to none, if there was none before), and the next command goes on well."""
import base64
import collections
import glob
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import signing
from signing import ONE, PREFIX, TWO
from support.kms_double.faults import ConnectionClosed
from support.process import eventually
from support.signatures import verifies

AT_ONCE = 4
REGIONS = (ONE, TWO)
COMMANDS = {"create": ["create", "ca", "--type", "EC_P256"], "rotate": ["rotate", "ca"]}


class Killing:
    """Kills the command at the call; what is due there (`when`) has happened then, and no answer comes."""

    def __init__(self):
        self._process, self._started, self.struck = None, threading.Event(), False

    def begun(self, process):
        self._process = process
        self._started.set()

    def __call__(self, call):
        assert self._started.wait(30)
        self.struck = True
        self._process.kill()
        self._process.wait()
        raise ConnectionClosed


def run(daemon, command, killing=None):
    """The command to its end: exit code (negative: killed), and what it said."""
    with signing.begin(daemon, command[0], *command[1:]) as process:
        if killing:
            killing.begun(process)
        try:
            said = process.communicate(timeout=90)[1]
        finally:
            process.kill()
        return process.returncode, said


def place(folder, name):
    """grace 0: the end of the old key is within the command, and is tried out like its other steps."""
    return signing.place(folder, name, REGIONS, grace="0s", keys_per_hour=100, keyfs={"audit": "off"})


def calls_of(folder, verb):
    """The calls that the command makes where nothing goes wrong, each as (operation, the how many-th of that operation)."""
    with place(folder, f"clean-{verb}") as (kms, daemon):
        if verb == "rotate":
            signing.existing(kms, "ca")
        code, said = run(daemon, COMMANDS[verb])
        assert code == 0, said
        assert kms.orphans() == []
        seen = collections.Counter()
        return [(c.operation, seen.update([c.operation]) or seen[c.operation]) for c in kms.log()]


def public_at(kms, key):
    return base64.b64decode(kms.call(ONE, "GetPublicKey", KeyId=key)["PublicKey"])


def signs(kms, key):
    """The key signs in each region, as itself."""
    public = public_at(kms, key)
    for region in REGIONS:
        made = kms.call(region, "Sign", KeyId=key.replace(ONE, region), Message=base64.b64encode(b"x").decode(), SigningAlgorithm="ECDSA_SHA_256")
        assert verifies(public, "ECDSA_SHA_256", b"x", base64.b64decode(made["Signature"]))


def left_over(kms, daemon):
    """Keys without an alias whose deletion is not scheduled, and what was begun and is not finished."""
    return kms.orphans() + glob.glob(os.path.join(daemon.state_dir, "signing", "begun", "*.json"))


def never_created(kms, daemon):
    """Whether what is left over is the entry of one creation of which there is no key yet: it is looked for for ten minutes."""
    left = left_over(kms, daemon)
    if len(left) != 1 or not isinstance(left[0], str):
        return False
    with open(left[0]) as f:
        return len(f.readlines()) == 1


def all_is_well(kms, daemon, verb, before, created):
    """After the next command, which settles what was left: nothing is left over, and the name refers to a key that signs. created: whether a key was."""
    if verb == "create":
        next_command = COMMANDS["create"]  # what its user would do: refused where the first one got through
    else:
        next_command = ["enable", "ca"]

    def settled():
        run(daemon, next_command)
        return left_over(kms, daemon) == [] or (not created and never_created(kms, daemon))

    eventually(settled, 30, "no key is left over", every=1.0)
    now = kms.target(ONE, PREFIX + "ca")
    assert now is not None
    signs(kms, now)
    told = json.loads(signing.command(daemon, "describe", "ca").stdout)["keys"][0]
    assert told["state"] == "enabled" and told["fingerprint"] == signing.fingerprint(public_at(kms, now))
    if before is not None and now == before:
        assert [k["state"] for k in kms.keys() if k["arn"] == before] == ["Enabled"], "the old key signs on"


def one_case(folder, verb, step, kind):
    """The command with a fault at that step, which is (operation, nth); why it is not as it should be, or None."""
    name, at = f"{verb}-{step[0]}-{step[1]}-{kind.replace(' ', '-')}", {"operation": step[0], "nth": step[1]}
    with place(folder, name) as (kms, daemon):
        before = None
        if verb == "rotate":
            signing.existing(kms, "ca")
            before = kms.target(ONE, PREFIX + "ca")
        killing = None
        if kind.startswith("killed"):
            killing = Killing()
            kms.hook(killing, when=kind.split()[1], **at)
        elif kind == "refused":
            kms.fault(error="AccessDeniedException", **at)
        else:
            kms.fault(when="after", do="close", **at)
        code, said = run(daemon, COMMANDS[verb], killing)
        try:
            # A call beside a slow one is not made each time, and one that KMS refuses has no effect after which it could be.
            assert not killing or not killing.struck or code == -9, f"killed, and ended with {code}"
            if before is not None and code != 0 and kms.target(ONE, PREFIX + "ca") == before:
                signs(kms, before)  # at once, before anything is mended
            if step[0] == "CreateKey" and kind == "lost":
                assert code not in (0, 3) and "outcome is unknown" in said, f"it ended with {code}: {said}"
                assert left_over(kms, daemon) == [], "its key is found and deleted by the command itself"
            kms.heal()
            all_is_well(kms, daemon, verb, before, created=not (step[0] == "CreateKey" and kind in ("refused", "killed before")))
        except (AssertionError, LookupError, OSError, ValueError) as e:
            return f"{name} (exit code {code}): {e!r:.600}"
    return None


KINDS = ["refused", "lost", "killed before", "killed after"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", COMMANDS)
def test_nothing_is_left_over_wherever_it_ends(folder, verb, kind):
    calls = calls_of(folder, verb)
    assert {"CreateKey", "ReplicateKey", "Sign"} <= {operation for operation, _ in calls}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [why for why in pool.map(lambda step: one_case(folder, verb, step, kind), calls) if why]
    assert not wrong, "\n".join(wrong)


def test_where_keys_must_not_be_listed_it_is_told_what_to_allow(folder):
    """The key is then found by nobody here: where keys without a name are disposed of (fs/spire), its description still tells whose it is."""
    with place(folder, "blind") as (kms, daemon):
        kms.fault(operation="CreateKey", when="after", do="close")
        kms.fault(operation="ListKeys", error="AccessDeniedException", times=None)
        code, said = run(daemon, COMMANDS["create"])
        assert code not in (0, 3) and "kms:ListKeys" in said and "kms:DescribeKey" in said, said
        assert [k["description"].rpartition("/")[0] for k in kms.orphans()] == [signing.DESCRIPTION + "ca"]
        kms.heal()
        assert run(daemon, ["create", "jwt", "--type", "EC_P256"])[0] == 0
        assert left_over(kms, daemon) == [], "allowed, the next command finds it"


@pytest.mark.parametrize("operation", ["ReplicateKey", "GetPublicKey", "Sign", "CreateAlias"])
def test_a_step_that_is_refused_for_good_leaves_no_key_and_says_so(folder, operation):
    with place(folder, "refused") as (kms, daemon):
        kms.fault(operation=operation, error="AccessDeniedException", times=None)
        done = signing.command(daemon, *COMMANDS["create"])
        assert done.returncode == 1 and "ca" in done.stderr and operation in done.stderr, done
        assert len(kms.log("CreateKey")) == 1 and kms.orphans() == [] and kms.target(ONE, PREFIX + "ca") is None


def test_a_crash_loop_makes_no_more_keys_than_the_cap(folder):
    with signing.place(folder, "loop", [ONE], keys_per_hour=3) as (kms, daemon):
        kms.fault(operation="Sign", error="AccessDeniedException", times=None)
        assert {run(daemon, COMMANDS["create"])[0] for _ in range(6)} == {1}
        assert len(kms.log("CreateKey")) == 3 and kms.orphans() == []


def test_the_daemon_finishes_what_a_killed_command_left(folder):
    """Also at its start; and signs with the old key until then."""
    with place(folder, "left") as (kms, parts):
        signing.existing(kms, "ca")
        before = kms.target(ONE, PREFIX + "ca")
        killing = Killing()
        kms.hook(killing, operation="Sign")  # the self-test: the key is there, and has no name
        assert run(parts, COMMANDS["rotate"], killing)[0] == -9
        assert len(kms.orphans()) == 2, "the key in both regions"
        with parts as keyfs:
            assert verifies(signing.public(keyfs, "ca"), "ECDSA_SHA_256", b"x", signing.sign(keyfs, "ca", b"x"))
            eventually(lambda: kms.orphans() == [], 20, "it is deleted")
            assert kms.target(ONE, PREFIX + "ca") == before and signing.public(keyfs, "ca") == public_at(kms, before)

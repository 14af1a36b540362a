"""What an account has in AWS KMS: keys and aliases per region, under a clock that can be moved.

Source: the KMS developer guide, "Key states of AWS KMS keys", "Multi-Region keys in AWS KMS", "Aliases in AWS KMS"."""
import re
import threading
import time
import uuid

from . import crypto
from .errors import KmsError, invalid, not_found

ACCOUNT = "111122223333"
DAY = 86400.0
_ARN = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):(\d{12}):(key|alias)/(.+)$")


def partition(region):
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


class Clock:
    """The time of the double: this machine's, and what it was advanced by."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return time.time() + self.ahead

    def advance(self, seconds=0.0, **more):
        """advance(days=14), advance(hours=6)"""
        units = {"minutes": 60.0, "hours": 3600.0, "days": DAY}
        self.ahead += seconds + sum(units[name] * value for name, value in more.items())


class Key:
    """One KMS key in one region; the replicas of a multi-Region key share id and material."""

    def __init__(self, region, key_id, spec, usage, material, created, description="", policy="", tags=None, kind=None, primary=None):
        self.region, self.id, self.spec, self.usage, self.material = region, key_id, spec, usage, material
        self.created, self.description, self.policy, self.tags = created, description, policy, dict(tags or {})
        self.kind = kind              # None, "PRIMARY" or "REPLICA"
        self.primary = primary or region
        self.state = "Enabled"        # Disabled, PendingDeletion, PendingReplicaDeletion, Creating
        self.window = None            # days, once its deletion is scheduled
        self.due = None               # when it is deleted, or no longer Creating
        self.arn = f"arn:{partition(region)}:kms:{region}:{ACCOUNT}:key/{key_id}"

    @property
    def algorithms(self):
        return list(crypto.SIGNING_ALGORITHMS.get(self.spec, ()))

    def pending(self):
        return self.state in ("PendingDeletion", "PendingReplicaDeletion")

    def must_be_usable(self):
        """For cryptographic operations, GetPublicKey and ReplicateKey."""
        if self.state == "Disabled":
            raise KmsError("DisabledException", f"{self.arn} is disabled.")
        self.must_not_be_pending()
        if self.state == "Creating":
            raise KmsError("KMSInvalidStateException", f"{self.arn} is creating.")

    def must_not_be_pending(self):
        """For operations that change a key."""
        if self.state == "PendingDeletion":
            raise KmsError("KMSInvalidStateException", f"{self.arn} is pending deletion.")
        if self.state == "PendingReplicaDeletion":
            raise KmsError("KMSInvalidStateException", f"{self.arn} is pending replica deletion.")


class Alias:
    def __init__(self, region, name, target, now):
        self.region, self.name, self.target = region, name, target  # target: a key id; None: AWS's own, never used
        self.created = self.updated = now
        self.arn = f"arn:{partition(region)}:kms:{region}:{ACCOUNT}:{name}"


class State:
    """All regions of one account. Whoever calls holds `lock`."""

    def __init__(self, regions, clock):
        self.regions, self.clock, self.lock = list(regions), clock, threading.RLock()
        self.creating = 0.0  # how long a replica is Creating
        self.forget()

    def forget(self):
        self.keys = {name: {} for name in self.regions}
        self.aliases = {name: {} for name in self.regions}

    # -- finding

    def find(self, region, given, aliases=True):
        """The key that a KeyId names: id, ARN, and alias or alias ARN where the operation takes those."""
        if not isinstance(given, str) or not 1 <= len(given) <= 2048:
            raise invalid("1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must not be null")
        self.settle()
        kind, name = ("alias", given) if given.startswith("alias/") else ("key", given)
        if given.startswith("arn:"):
            parts = _ARN.match(given)
            if not parts:
                raise KmsError("InvalidArnException", f"Invalid arn {given}")
            if parts[1] != partition(region) or parts[2] != region:
                raise not_found(f"Invalid arn {parts[2]}")
            if parts[3] != ACCOUNT:
                raise KmsError("AccessDeniedException", f"The resource {given} belongs to another account.")
            kind, name = parts[4], parts[5] if parts[4] == "key" else f"alias/{parts[5]}"
        if kind == "alias":
            if not aliases:
                raise not_found(f"Invalid keyId {given}")
            found = self.aliases[region].get(name)
            if found is None or found.target is None:
                raise not_found(f"Alias arn:{partition(region)}:kms:{region}:{ACCOUNT}:{name} is not found.")
            name = found.target
        key = self.keys[region].get(name)
        if key is None:
            raise not_found(f"Key 'arn:{partition(region)}:kms:{region}:{ACCOUNT}:key/{name}' does not exist")
        return key

    def related(self, key):
        """A multi-Region key in all regions, itself included."""
        return [self.keys[name][key.id] for name in self.regions if key.id in self.keys[name]] if key.kind else [key]

    def names_of(self, key):
        return sorted(a.name for a in self.aliases[key.region].values() if a.target == key.id)

    # -- making, and what time brings

    def add(self, region, spec, usage, material, multi_region=False, **more):
        made = uuid.uuid4()
        key = Key(region, f"mrk-{made.hex}" if multi_region else str(made), spec, usage, material, self.clock.now(),
                  kind="PRIMARY" if multi_region else None, **more)
        self.keys[region][key.id] = key
        return key

    def replicate(self, key, region, **more):
        made = Key(region, key.id, key.spec, key.usage, key.material, self.clock.now(), kind="REPLICA", primary=key.primary, **more)
        if self.creating:
            made.state, made.due = "Creating", self.clock.now() + self.creating
        self.keys[region][made.id] = made
        return made

    def schedule(self, key, days):
        key.window = days
        if key.kind == "PRIMARY" and len(self.related(key)) > 1:
            key.state, key.due = "PendingReplicaDeletion", None
        else:
            key.state, key.due = "PendingDeletion", self.clock.now() + days * DAY

    def settle(self):
        """What is due by the clock has happened: replicas are ready, keys are deleted with their aliases, and a primary's wait begins."""
        now = self.clock.now()
        due = sorted((k for keys in self.keys.values() for k in keys.values() if k.due is not None and k.due <= now), key=lambda k: k.due)
        for key in due:
            if key.state == "Creating":
                key.state, key.due = "Enabled", None
                continue
            related = self.related(key)
            del self.keys[key.region][key.id]
            aliases = self.aliases[key.region]
            for name in [n for n, a in aliases.items() if a.target == key.id]:
                del aliases[name]
            left = [k for k in related if k is not key]
            if len(left) == 1 and left[0].state == "PendingReplicaDeletion":
                left[0].state, left[0].due = "PendingDeletion", key.due + left[0].window * DAY
                if left[0].due <= now:
                    self.settle()

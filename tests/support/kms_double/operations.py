"""The operations on keys: making, looking, states, replicas; and the table of all operations. Aliases, tags and policies are in names.py, what uses
the material in using.py.

Source: the AWS KMS API reference, each operation's page."""
from . import crypto, names, using
from .errors import KmsError, invalid
from .fields import number, page
from .state import ACCOUNT, partition

USAGES = ("SIGN_VERIFY", "ENCRYPT_DECRYPT")


class Operations:
    """perform(region, operation, fields) -> the reply's fields, or KmsError. Thread-safe."""

    def __init__(self, state, pool):
        self.state, self.pool = state, pool

    def perform(self, region, operation, fields):
        found = OPERATIONS.get(operation)
        if found is None:
            raise KmsError("UnknownOperationException", "")
        return found(self, region, fields)

    def key(self, region, fields, name="KeyId", aliases=False):
        return self.state.find(region, fields.get(name), aliases)


def locked(operation):
    def call(ops, region, fields):
        with ops.state.lock:
            return operation(ops, region, fields)

    return call


def metadata(state, key):
    made = {"AWSAccountId": ACCOUNT, "KeyId": key.id, "Arn": key.arn, "CreationDate": key.created, "Enabled": key.state == "Enabled",
            "Description": key.description, "KeyUsage": key.usage, "KeyState": key.state, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
            "CustomerMasterKeySpec": key.spec, "KeySpec": key.spec, "MultiRegion": bool(key.kind)}
    if key.state == "PendingDeletion":
        made["DeletionDate"] = key.due
    elif key.state == "PendingReplicaDeletion":
        made["PendingDeletionWindowInDays"] = key.window
    if key.usage == "SIGN_VERIFY":
        made["SigningAlgorithms"] = key.algorithms
    else:
        made["EncryptionAlgorithms"] = ["SYMMETRIC_DEFAULT"]
    if key.kind:
        related = state.related(key)
        primary = next((k for k in related if k.kind == "PRIMARY"), key)
        made["MultiRegionConfiguration"] = {
            "MultiRegionKeyType": key.kind, "PrimaryKey": {"Arn": primary.arn, "Region": primary.region},
            "ReplicaKeys": [{"Arn": k.arn, "Region": k.region} for k in related if k.kind == "REPLICA"]}
    return made


def create_key(ops, region, fields):
    spec = fields.get("KeySpec", fields.get("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"))
    usage = fields.get("KeyUsage", "ENCRYPT_DECRYPT")
    if spec not in crypto.SPECS:
        raise invalid(f"1 validation error detected: Value '{spec}' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set")
    if usage not in USAGES:
        raise invalid(f"1 validation error detected: Value '{usage}' at 'keyUsage' failed to satisfy constraint: Member must satisfy enum value set")
    if (usage == "SIGN_VERIFY") != (spec != "SYMMETRIC_DEFAULT"):
        raise invalid(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    if fields.get("Origin", "AWS_KMS") != "AWS_KMS":
        raise KmsError("UnsupportedOperationException", "Only the origin AWS_KMS is supported.")
    description = fields.get("Description", "")
    if not isinstance(description, str) or len(description) > 8192:
        raise invalid("1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192")
    policy = names.checked_policy(fields.get("Policy", names.DEFAULT_POLICY))
    tags = names.checked_tags(fields.get("Tags", []), {})
    material = ops.pool.take(spec)  # without the lock: an RSA key takes its time
    with ops.state.lock:
        key = ops.state.add(region, spec, usage, material, bool(fields.get("MultiRegion")), description=description, policy=policy, tags=tags)
        return {"KeyMetadata": metadata(ops.state, key)}


@locked
def describe_key(ops, region, fields):
    return {"KeyMetadata": metadata(ops.state, ops.key(region, fields, aliases=True))}


@locked
def list_keys(ops, region, fields):
    ops.state.settle()
    rows, more = page(sorted(ops.state.keys[region].values(), key=lambda k: k.id), fields, 100, 1000, lambda k: k.id)
    return {"Keys": [{"KeyId": k.id, "KeyArn": k.arn} for k in rows], **more}


@locked
def schedule_key_deletion(ops, region, fields):
    days = number(fields, "PendingWindowInDays", 7, 30, 30)
    key = ops.key(region, fields)
    key.must_not_be_pending()
    ops.state.schedule(key, days)
    made = {"KeyId": key.arn, "KeyState": key.state, "PendingWindowInDays": days}
    return {**made, "DeletionDate": key.due} if key.due else made


@locked
def cancel_key_deletion(ops, region, fields):
    key = ops.key(region, fields)
    if not key.pending():
        raise KmsError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    key.state, key.due, key.window = "Disabled", None, None
    return {"KeyId": key.arn}


def _switch(state):
    @locked
    def call(ops, region, fields):
        key = ops.key(region, fields)
        key.must_not_be_pending()
        if key.state == "Creating":
            raise KmsError("KMSInvalidStateException", f"{key.arn} is creating.")
        key.state = state
        return {}

    return call


@locked
def replicate_key(ops, region, fields):
    state, key, where = ops.state, ops.key(region, fields), fields.get("ReplicaRegion")
    if key.kind is None:
        raise KmsError("UnsupportedOperationException", f"{key.arn} is not a multi-Region key.")
    if key.kind != "PRIMARY":
        raise KmsError("UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key.")
    key.must_be_usable()
    if where not in state.regions or where == region or partition(where) != partition(region):
        raise invalid(f"The replica region {where} is not valid for {key.arn}.")
    if key.id in state.keys[where]:
        raise KmsError("AlreadyExistsException", f"A replica of {key.arn} already exists in {where}.")
    description = fields.get("Description", "")
    policy = names.checked_policy(fields.get("Policy", names.DEFAULT_POLICY))
    tags = names.checked_tags(fields.get("Tags", []), {})
    made = state.replicate(key, where, description=description, policy=policy, tags=tags)
    return {"ReplicaKeyMetadata": metadata(state, made), "ReplicaPolicy": policy, "ReplicaTags": names.tag_rows(made.tags)}


OPERATIONS = {
    "CreateKey": create_key,
    "DescribeKey": describe_key,
    "ListKeys": list_keys,
    "ScheduleKeyDeletion": schedule_key_deletion,
    "CancelKeyDeletion": cancel_key_deletion,
    "DisableKey": _switch("Disabled"),
    "EnableKey": _switch("Enabled"),
    "ReplicateKey": replicate_key,
    **{name: locked(call) for name, call in names.OPERATIONS.items()},
    **using.OPERATIONS,  # these lock only for the look-up: signatures are made side by side
}

"""The operations on what hangs on keys: aliases, tags, policies.

Source: the AWS KMS API reference, each operation's page; the reserved prefix and the pattern are refused as AWS was seen to do (and moto does)."""
import json
import re

from .errors import KmsError, invalid, not_found
from .fields import page
from .state import ACCOUNT, Alias, partition

DEFAULT_POLICY = json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [
    {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}]})
_ALIAS = re.compile(r"[a-zA-Z0-9:/_-]{1,256}")
ALIAS_PATTERN = "^[a-zA-Z0-9:/_-]+$"
ALIASES_PER_KEY = 50
TAGS_PER_KEY = 50


# -- aliases

def _checked_alias(fields):
    name = fields.get("AliasName")
    if not isinstance(name, str) or not _ALIAS.fullmatch(name):
        raise invalid(f"1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression "
                      f"pattern: {ALIAS_PATTERN}, and have length less than or equal to 256")
    if not name.startswith("alias/") or len(name) == len("alias/"):
        raise invalid("Invalid identifier")
    if name.startswith("alias/aws/"):
        raise KmsError("NotAuthorizedException", "")
    if ":" in name:
        raise invalid(f"{name} contains invalid characters for an alias")
    return name


def _existing_alias(ops, region, fields):
    name = _checked_alias(fields)
    ops.state.settle()
    alias = ops.state.aliases[region].get(name)
    if alias is None:
        raise not_found(f"Alias arn:{partition(region)}:kms:{region}:{ACCOUNT}:{name} is not found.")
    return alias


def create_alias(ops, region, fields):
    name = _checked_alias(fields)
    key = ops.key(region, fields, "TargetKeyId")
    key.must_not_be_pending()
    if name in ops.state.aliases[region]:
        raise KmsError("AlreadyExistsException", f"An alias with the name {ops.state.aliases[region][name].arn} already exists")
    if len(ops.state.names_of(key)) >= ALIASES_PER_KEY:
        raise KmsError("LimitExceededException", f"{key.arn} has as many aliases as a key may have.")
    ops.state.aliases[region][name] = Alias(region, name, key.id, ops.state.clock.now())
    return {}


def update_alias(ops, region, fields):
    alias = _existing_alias(ops, region, fields)
    key = ops.key(region, fields, "TargetKeyId")
    key.must_not_be_pending()  # that the key it leaves is pending is no hindrance
    before = ops.state.keys[region][alias.target]
    if before.usage != key.usage or (before.spec == "SYMMETRIC_DEFAULT") != (key.spec == "SYMMETRIC_DEFAULT"):
        raise invalid(f"Alias {alias.arn} cannot be changed from {before.arn} to {key.arn}: the keys must have the same type and key usage.")
    alias.target, alias.updated = key.id, ops.state.clock.now()
    return {}


def delete_alias(ops, region, fields):
    del ops.state.aliases[region][_existing_alias(ops, region, fields).name]
    return {}


def list_aliases(ops, region, fields):
    ops.state.settle()
    rows = sorted(ops.state.aliases[region].values(), key=lambda a: a.name)
    if fields.get("KeyId") is not None:
        target = ops.key(region, fields).id
        rows = [a for a in rows if a.target == target]
    rows, more = page(rows, fields, 50, 100, lambda a: a.name)
    told = []
    for a in rows:
        row = {"AliasName": a.name, "AliasArn": a.arn}
        if a.target:  # AWS's own aliases without a key yet have neither key nor dates
            row.update(TargetKeyId=a.target, CreationDate=a.created, LastUpdatedDate=a.updated)
        told.append(row)
    return {"Aliases": told, **more}


# -- tags

def tag_rows(tags):
    return [{"TagKey": name, "TagValue": value} for name, value in tags.items()]


def checked_tags(rows, before):
    """`before` with these tags."""
    given = {}
    for row in rows:
        name, value = row.get("TagKey"), row.get("TagValue")
        if not isinstance(name, str) or not 1 <= len(name) <= 128 or not isinstance(value, str) or len(value) > 256:
            raise invalid("1 validation error detected: Value at 'tags' failed to satisfy constraint")
        if name.lower().startswith("aws:"):
            raise KmsError("TagException", "aws: prefixed tag key names are not allowed for external use")
        if name in given:
            raise KmsError("TagException", f"Duplicate tag key {name}")
        given[name] = value
    made = {**before, **given}
    if len(made) > TAGS_PER_KEY:
        raise KmsError("LimitExceededException", "A key can't have more than 50 tags.")
    return made


def tag_resource(ops, region, fields):
    key = ops.key(region, fields)
    key.must_not_be_pending()
    key.tags = checked_tags(fields.get("Tags") or [], key.tags)
    return {}


def list_resource_tags(ops, region, fields):
    rows, more = page(sorted(tag_rows(ops.key(region, fields).tags), key=lambda t: t["TagKey"]), fields, 50, 50, lambda t: t["TagKey"])
    return {"Tags": rows, **more}


# -- policies

def checked_policy(text):
    """Refuses what is no policy, and one that would lock its owner out (nobody could put another one)."""
    if not isinstance(text, str) or not 1 <= len(text) <= 131072:
        raise invalid("1 validation error detected: Value at 'policy' failed to satisfy constraint")
    try:
        statements = json.loads(text)["Statement"]
        statements = [statements] if isinstance(statements, dict) else list(statements)
        actions = [a for s in statements if s["Effect"] == "Allow" and "Principal" in s
                   for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])]
    except (ValueError, KeyError, TypeError):
        raise KmsError("MalformedPolicyDocumentException", "The specified policy is not syntactically correct.") from None
    if not {"*", "kms:*", "kms:Put*", "kms:PutKeyPolicy"} & set(actions):
        raise KmsError("MalformedPolicyDocumentException",
                       "The new key policy will not allow you to update the key policy in the future.")
    return text


def put_key_policy(ops, region, fields):
    key = ops.key(region, fields)
    _only_default(fields)
    key.policy = checked_policy(fields.get("Policy"))
    return {}


def get_key_policy(ops, region, fields):
    key = ops.key(region, fields)
    _only_default(fields)
    return {"Policy": key.policy, "PolicyName": "default"}


def _only_default(fields):
    if fields.get("PolicyName", "default") != "default":
        raise not_found("No such policy exists")


OPERATIONS = {"CreateAlias": create_alias, "UpdateAlias": update_alias, "DeleteAlias": delete_alias, "ListAliases": list_aliases,
              "TagResource": tag_resource, "ListResourceTags": list_resource_tags, "PutKeyPolicy": put_key_policy, "GetKeyPolicy": get_key_policy}

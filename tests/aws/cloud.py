"""Shared by the tests of this folder: configurations over the parts of support.aws, calls counted at the proxies, items of the table."""
import collections
import contextlib
import json
import os
import socket
import subprocess

from mount.seen import ADMIN, EVERYTHING
from support.process import eventually

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
               "AWS_CONFIG_FILE": "/nonexistent"}


def sections(aws, table, tls=False, regions=None, store=None, policy=None, endpoints=None, **keyfs):
    """The configuration of a daemon: every region of the parts, and the table. regions: {name: entries} over those of the sections, store: over those of
    [store]. endpoints(region) -> (KMS's URL, DynamoDB's URL) instead of the proxies' own."""
    def urls(region):
        if endpoints:
            return endpoints(region)
        return (region.kms.tls_url, region.dynamodb.tls_url) if tls else (region.kms.url, region.dynamodb.url)

    made = {"keyfs": keyfs,
            "store": {"type": "dynamodb", "table": table, "regions": [r.name for r in aws.regions], "endpoint": [urls(r)[1] for r in aws.regions],
                      **(store or {})}}
    for region in aws.regions:
        made[f"region {region.name}"] = {"type": "aws", "key": region.key_arn, "endpoint": urls(region)[0], **(regions or {}).get(region.name, {})}
    for glob, entries in (policy or {"*": EVERYTHING}).items():
        made[f"keys {glob}"] = entries
    # Nothing that comes by itself, beside what is counted and what meets a fault; tests of rotation have sections of their own.
    return {**made, "rotation": {"run": "no", "poll_every": "1h"}, **ADMIN}


def said(keyfs, ident):
    """The log's line about an open that failed."""
    lines = eventually(lambda: [line for line in keyfs.log().splitlines() if "could not open a key" in line and f"id={ident} " in line], 10, "a line")
    return lines[-1]


# -- counting

class Calls:
    """The calls at all proxies since it was made, or since reset()."""

    def __init__(self, aws):
        self._proxies = [p for r in aws.regions for p in (r.kms, r.dynamodb)] + [aws.sts]
        self.reset()

    def reset(self):
        for proxy in self._proxies:
            proxy.reset_stats()

    def by_region(self):
        """{(operation, proxy's name): count}; DryRun and pings are left to tell apart by name."""
        found = collections.Counter()
        for proxy in self._proxies:
            for op, row in proxy.stats()["calls"].items():
                if op != "*" and row["since_reset"]:
                    found[op, proxy.name] += row["since_reset"]
        return found

    def all(self):
        """{operation: count} over all regions, without the pings that keep connections warm."""
        found = collections.Counter()
        for (op, _), count in self.by_region().items():
            if op != "/ping":
                found[op] += count
        return dict(found)


def kms_calls(calls):
    return {op: n for op, n in calls.items() if op in ("GenerateDataKey", "Encrypt", "Decrypt", "DescribeKey")}


# -- the table

def items(aws, table):
    """{id: item} of the keys, bypassing the proxies."""
    found, start = {}, {}
    while True:
        page = aws.regions[0].dynamodb_direct("Scan", TableName=table, ConsistentRead=True, **start)
        found.update({item["id"]["S"]: item for item in page["Items"] if not item["id"]["S"].startswith(".")})
        if not page.get("LastEvaluatedKey"):
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def store_id(aws, table):
    return aws.regions[0].dynamodb_direct("GetItem", TableName=table, Key={"id": {"S": ".keyfs-store"}}, ConsistentRead=True)["Item"]["store"]["S"]


def remembered(keyfs, ident):
    """The daemon has noted that this is its store."""
    def noted():
        path = os.path.join(keyfs.state_dir, "store-id")
        return os.path.exists(path) and open(path).read() == f"dynamodb {ident}\n"

    eventually(noted, 20, "the store is remembered")


def records(aws, table):
    return {ident: json.loads(item["record"]["S"]) for ident, item in items(aws, table).items()}


def wrapped_in(record):
    return set(record["versions"][str(record["current"])]["wrapped"])


# -- names that do not resolve

@contextlib.contextmanager
def name_server(folder, silent):
    """The only name server of this mount namespace is one that refuses every question at once, or (silent) takes it and never answers."""
    address = "127.77.0.53"
    path = os.path.join(str(folder), "resolv.conf")
    with open(path, "w") as f:
        f.write(f"nameserver {address}\noptions timeout:5 attempts:2\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        if silent:
            server.bind((address, 53))
        subprocess.run(["mount", "--bind", path, "/etc/resolv.conf"], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", "/etc/resolv.conf"], check=True)

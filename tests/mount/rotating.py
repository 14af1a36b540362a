"""Another version of a key, written into the SQLite file as a rotation leaves it: wrapped by the local masters (kms/local_region.cc), with its check value."""
import base64
import datetime
import hashlib
import hmac
import json
import os
import struct

import seen
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def text(value):
    return struct.pack(">I", len(value)) + value.encode()


def wrap(master, key, context):
    """{"key", "blob", "at"} of one region."""
    print_of = hmac.digest(master, b"keyfs local master v1", "sha256")[:8]
    header = b"\x01" + print_of
    bound = header + struct.pack(">I", len(context)) + b"".join(text(k) + text(v) for k, v in sorted(context.items()))
    nonce = os.urandom(12)
    return {"key": f"local:{print_of.hex()}", "blob": base64.b64encode(header + nonce + AESGCM(master).encrypt(nonce, key, bound)).decode(), "at": now()}


def check(key, ident, number):
    label = "keyfs key check v1"
    return hmac.digest(key, text(label) + text(ident) + struct.pack(">IQ", 8, number), hashlib.sha256)[:16].hex()


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def rotate(db, masters, ident, key=None, created=None):
    """The bytes of the new current version."""
    record = seen.records(db)[ident]
    number = max(record.get("last", 0), *map(int, record["versions"])) + 1
    key = key or os.urandom(32)
    context = {"keyfs:id": ident, "keyfs:version": str(number)}
    if "origin" in record:
        context["keyfs:store"] = record["origin"]
    record["versions"][str(number)] = {"created": created or now(), "creator": "by-hand", "bytes": len(key), "check": check(key, ident, number), "token": f"t{number}",
                                       "promoted": now(), "wrapped": {region: wrap(path.read_bytes(), key, context) for region, path in masters.items()}}
    change(db, ident, {**record, "current": number, "last": number})
    return key


def change(db, ident, record):
    """As an administrator's command does: the serial rises."""
    seen.put_text(db, ident, json.dumps({**record, "serial": record.get("serial", 0) + 1}))


def retire(db, ident, below):
    change(db, ident, {**seen.records(db)[ident], "min": below})

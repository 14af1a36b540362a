#!/usr/bin/env python3
"""sign_jwt.py MOUNTPOINT KEY <CLAIMS.JSON >TOKEN: a JSON Web Token (RFC 7519), signed by keyfs: ES256, ES384 or RS256, by the key's type.

`kid` is the key's fingerprint, and the key is pinned by it: a token never says that another key has signed it.
"""
import base64
import hashlib
import json
import os
import sys

ALGORITHMS = {"EC_P256": ("ES256", "ECDSA_SHA_256", 32), "EC_P384": ("ES384", "ECDSA_SHA_384", 48),
              "RSA_2048": ("RS256", "RSASSA_PKCS1_V1_5_SHA_256", 0), "RSA_4096": ("RS256", "RSASSA_PKCS1_V1_5_SHA_256", 0)}


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_ecdsa(der, size):
    """r and s, each of `size` bytes, one after the other (RFC 7518, section 3.4), of a DER SEQUENCE of two INTEGERs shorter than 128 bytes."""
    r_end = 4 + der[3]
    r, s = der[4:r_end], der[r_end + 2:]
    return b"".join(number.lstrip(b"\0").rjust(size, b"\0") for number in (r, s))


def token(mount, key, claims):
    folder = os.path.join(mount, ".keyfs", "sign", key)
    kid = read(folder, "fingerprint").decode().strip()
    name, algorithm, size = ALGORITHMS[read(folder, "type").decode().strip()]
    parts = [base64url(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": name, "kid": kid, "typ": "JWT"}, claims)]
    digest = hashlib.new("sha" + algorithm[-3:], ".".join(parts).encode()).hexdigest()
    signature = read(folder, "at", kid, algorithm, digest)  # this open signs
    return ".".join([*parts, base64url(raw_ecdsa(signature, size) if size else signature)])


if __name__ == "__main__":
    print(token(sys.argv[1], sys.argv[2], json.load(sys.stdin)))

#!/usr/bin/env python3
"""verify.py PUB.PEM ALGORITHM SIGNATURE FILE: whether that is the signature of the file. With the package cryptography."""
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding


def verify(pem, algorithm, signature, data):
    """Raises InvalidSignature. `algorithm` is the name of the directory that the signature was read from."""
    key = serialization.load_pem_public_key(pem)
    kind, _, bits = algorithm.rpartition("_SHA_")
    hash_ = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[bits]()
    if kind == "ECDSA":
        key.verify(signature, data, ec.ECDSA(hash_))
    elif kind == "RSASSA_PSS":  # the salt is as long as the digest
        key.verify(signature, data, padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_)
    else:
        key.verify(signature, data, padding.PKCS1v15(), hash_)


if __name__ == "__main__":
    pem, signature, data = (open(path, "rb").read() for path in (sys.argv[1], sys.argv[3], sys.argv[4]))
    try:
        verify(pem, sys.argv[2], signature, data)
    except InvalidSignature:
        sys.exit("not a signature of this file by this key")
    print("good")

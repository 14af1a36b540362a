"""What the keys of the double are made of: signatures as AWS KMS makes them, and data keys.

Source: the KMS API reference (Sign, Verify, GetPublicKey, GenerateDataKey, Encrypt, Decrypt) and the developer guide, "Key spec reference": ECDSA signatures are
DER (ANSI X9.62), RSA PSS has MGF1 with the same hash and a salt as long as the hash."""
import collections
import json
import os
import threading

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import KmsError

HASHES = {"SHA_256": hashes.SHA256, "SHA_384": hashes.SHA384, "SHA_512": hashes.SHA512}
RSA_ALGORITHMS = tuple(f"RSASSA_{scheme}_{name}" for scheme in ("PKCS1_V1_5", "PSS") for name in HASHES)
SIGNING_ALGORITHMS = {
    "ECC_NIST_P256": ("ECDSA_SHA_256",),
    "ECC_NIST_P384": ("ECDSA_SHA_384",),
    "RSA_2048": RSA_ALGORITHMS,
    "RSA_4096": RSA_ALGORITHMS,
}
SPECS = (*SIGNING_ALGORITHMS, "SYMMETRIC_DEFAULT")
ALL_ALGORITHMS = ("ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512", *RSA_ALGORITHMS)
ID_BYTES = 40  # room for an mrk- id


class Pool:
    """New private keys. Each is handed out once; those that take long to make can be made ahead."""

    def __init__(self):
        self._ahead = collections.defaultdict(collections.deque)
        self._lock = threading.Lock()

    def take(self, spec):
        with self._lock:
            if self._ahead[spec]:
                return self._ahead[spec].popleft()
        return self._make(spec)

    def prepare(self, spec, count):
        for _ in range(count):
            made = self._make(spec)
            with self._lock:
                self._ahead[spec].append(made)

    @staticmethod
    def _make(spec):
        if spec == "SYMMETRIC_DEFAULT":
            return os.urandom(32)
        if spec.startswith("RSA_"):
            return rsa.generate_private_key(65537, int(spec[4:]))
        return ec.generate_private_key({"ECC_NIST_P256": ec.SECP256R1, "ECC_NIST_P384": ec.SECP384R1}[spec]())


def public_der(private):
    return private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _hash_of(algorithm):
    return HASHES[algorithm[-7:]]()


def _digest(algorithm, message, kind):
    """The digest to be signed: the message itself for DIGEST."""
    chosen = _hash_of(algorithm)
    if kind == "DIGEST":
        if len(message) != chosen.digest_size:
            raise KmsError("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
        return message
    made = hashes.Hash(chosen)
    made.update(message)
    return made.finalize()


def _scheme(algorithm):
    """The arguments of cryptography's sign() and verify() that follow the data."""
    chosen = _hash_of(algorithm)
    if algorithm.startswith("ECDSA"):
        return (ec.ECDSA(utils.Prehashed(chosen)),)
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(chosen), chosen.digest_size), utils.Prehashed(chosen)
    return padding.PKCS1v15(), utils.Prehashed(chosen)


def sign(private, algorithm, message, kind):
    return private.sign(_digest(algorithm, message, kind), *_scheme(algorithm))


def verify(private, algorithm, message, kind, signature):
    try:
        private.public_key().verify(signature, _digest(algorithm, message, kind), *_scheme(algorithm))
    except InvalidSignature:
        raise KmsError("KMSInvalidSignatureException", None) from None


# -- symmetric keys

def _bound(key_id, context):
    return json.dumps([key_id, context or {}], sort_keys=True).encode()


def encrypt(key_id, secret, plaintext, context):
    nonce = os.urandom(12)
    return key_id.encode().ljust(ID_BYTES, b"\0") + nonce + AESGCM(secret).encrypt(nonce, plaintext, _bound(key_id, context))


def owner(blob):
    """The id of the key that a ciphertext says it is of."""
    return blob[:ID_BYTES].rstrip(b"\0").decode("ascii", "replace")


def decrypt(key_id, secret, blob, context):
    try:
        return AESGCM(secret).decrypt(blob[ID_BYTES:ID_BYTES + 12], blob[ID_BYTES + 12:], _bound(key_id, context))
    except (InvalidTag, ValueError):
        raise KmsError("InvalidCiphertextException", None) from None

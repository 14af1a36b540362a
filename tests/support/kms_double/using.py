"""The operations that use a key's material: GetPublicKey, Sign, Verify, and data keys with symmetric ones.

Source: the AWS KMS API reference, each operation's page."""
import os

from . import crypto
from .errors import KmsError, invalid
from .fields import base64_of, data, number

MESSAGE_BYTES = 4096


def _usable(ops, region, fields, usage):
    """The key, which may be used for this now."""
    with ops.state.lock:
        key = ops.key(region, fields, aliases=True)
        key.must_be_usable()
        if key.usage != usage:
            raise KmsError("InvalidKeyUsageException", f"{key.arn} key usage is {key.usage} which is not valid for this operation.")
        return key


def _context(fields):
    context = fields.get("EncryptionContext") or {}
    if not isinstance(context, dict) or not all(isinstance(v, str) for v in context.values()):
        raise invalid("1 validation error detected: Value at 'encryptionContext' failed to satisfy constraint")
    return context


def _dry(fields):
    if fields.get("DryRun"):
        raise KmsError("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")


def get_public_key(ops, region, fields):
    with ops.state.lock:
        key = ops.key(region, fields, aliases=True)
        if key.spec == "SYMMETRIC_DEFAULT":
            raise KmsError("UnsupportedOperationException", f"{key.arn} is not an asymmetric key.")
        key.must_be_usable()
    return {"KeyId": key.arn, "PublicKey": base64_of(crypto.public_der(key.material)), "CustomerMasterKeySpec": key.spec, "KeySpec": key.spec,
            "KeyUsage": key.usage, "SigningAlgorithms": key.algorithms}


def _signing(ops, region, fields):
    """(key, algorithm, message, RAW or DIGEST)"""
    algorithm, kind = fields.get("SigningAlgorithm"), fields.get("MessageType", "RAW")
    if algorithm not in crypto.ALL_ALGORITHMS:
        raise invalid(f"1 validation error detected: Value '{algorithm}' at 'signingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set")
    if kind not in ("RAW", "DIGEST"):
        raise invalid(f"1 validation error detected: Value '{kind}' at 'messageType' failed to satisfy constraint: Member must satisfy enum value set")
    message = data(fields, "Message", MESSAGE_BYTES)
    key = _usable(ops, region, fields, "SIGN_VERIFY")
    if algorithm not in key.algorithms:
        raise KmsError("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")
    return key, algorithm, message, kind


def sign(ops, region, fields):
    key, algorithm, message, kind = _signing(ops, region, fields)
    made = crypto.sign(key.material, algorithm, message, kind)
    _dry(fields)
    return {"KeyId": key.arn, "Signature": base64_of(made), "SigningAlgorithm": algorithm}


def verify(ops, region, fields):
    key, algorithm, message, kind = _signing(ops, region, fields)
    crypto.verify(key.material, algorithm, message, kind, data(fields, "Signature", 6144))
    _dry(fields)
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


def generate_data_key(ops, region, fields):
    spec, context = fields.get("KeySpec"), _context(fields)
    if (spec is None) == (fields.get("NumberOfBytes") is None):
        raise invalid("Please specify either number of bytes or key spec.")
    size = {"AES_256": 32, "AES_128": 16}.get(spec) if spec else number(fields, "NumberOfBytes", 1, 1024, None)
    if size is None:
        raise invalid(f"1 validation error detected: Value '{spec}' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set")
    key = _usable(ops, region, fields, "ENCRYPT_DECRYPT")
    _dry(fields)
    plaintext = os.urandom(size)
    return {"KeyId": key.arn, "Plaintext": base64_of(plaintext), "CiphertextBlob": base64_of(crypto.encrypt(key.id, key.material, plaintext, context))}


def encrypt(ops, region, fields):
    plaintext, context = data(fields, "Plaintext", MESSAGE_BYTES), _context(fields)
    key = _usable(ops, region, fields, "ENCRYPT_DECRYPT")
    _dry(fields)
    return {"KeyId": key.arn, "CiphertextBlob": base64_of(crypto.encrypt(key.id, key.material, plaintext, context)),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def decrypt(ops, region, fields):
    blob, context = data(fields, "CiphertextBlob", 6144), _context(fields)
    owner = crypto.owner(blob)
    if fields.get("KeyId") is not None:
        key = _usable(ops, region, fields, "ENCRYPT_DECRYPT")
        if key.id != owner:
            raise KmsError("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
    else:
        with ops.state.lock:
            if owner not in ops.state.keys[region]:
                raise KmsError("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
                               "or you are not allowed to access.")
        key = _usable(ops, region, {"KeyId": owner}, "ENCRYPT_DECRYPT")
    plaintext = crypto.decrypt(key.id, key.material, blob, context)
    _dry(fields)
    return {"KeyId": key.arn, "Plaintext": base64_of(plaintext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


OPERATIONS = {"GetPublicKey": get_public_key, "Sign": sign, "Verify": verify, "GenerateDataKey": generate_data_key, "Encrypt": encrypt, "Decrypt": decrypt}

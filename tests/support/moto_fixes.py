"""Corrections for the test server where moto's KMS (5.2) is laxer than AWS's and keyfs depends on it.

Sources: the errors that the KMS API reference lists for Decrypt, Encrypt and GenerateDataKey.
  - ciphertexts of multi-Region keys: moto's header has room for 36 characters of a key id, an mrk- id has 40; Decrypt never finds it
  - a disabled key, or one that waits for its deletion, still encrypts and decrypts in moto
  - Decrypt with the KeyId of another key: moto says AccessDeniedException, AWS IncorrectKeyException
  - the encryption context is bound without lengths in moto: {"a": "bc"} opens what {"ab": "c"} closed
  - DryRun is ignored by moto
And DynamoDB's DescribeTable tells of the replicas that KEYFS_MOTO_REPLICAS names (moto knows none), in the strong mode."""
import json
import os
import struct

from moto.core.exceptions import JsonRESTError
from moto.dynamodb.models.table import Table
from moto.kms import models, utils
from moto.kms.responses import KmsResponse

ID_BYTES = 40


def _error(kind, message):
    error = JsonRESTError(kind, message)
    error.code = 400
    return error


def _pack(ciphertext):
    return struct.pack(f">{ID_BYTES}s12s16s", ciphertext.key_id.encode(), ciphertext.iv, ciphertext.tag) + ciphertext.ciphertext


def _unpack(ciphertext_blob):
    key_id, iv, tag = struct.unpack(f">{ID_BYTES}s12s16s", ciphertext_blob[:ID_BYTES + 28])
    return utils.Ciphertext(key_id.rstrip(b"\0").decode(), iv, ciphertext_blob[ID_BYTES + 28:], tag)


def _context(encryption_context):
    return json.dumps(encryption_context, sort_keys=True).encode()


def _usable(backend, key_id):
    key = backend.keys[backend.any_id_to_key_id(key_id)]
    if key.key_state == "Disabled":
        raise _error("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        raise _error("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    return key


def apply():
    utils._serialize_ciphertext_blob, utils._deserialize_ciphertext_blob = _pack, _unpack
    utils._serialize_encryption_context = _context
    encrypt, decrypt = models.KmsBackend.encrypt, models.KmsBackend.decrypt

    def checked_encrypt(self, key_id, plaintext, encryption_context):
        _usable(self, key_id)
        return encrypt(self, key_id, plaintext, encryption_context)

    def checked_decrypt(self, ciphertext_blob, encryption_context, key_id=None):
        try:
            owner = _unpack(ciphertext_blob).key_id
        except (struct.error, UnicodeDecodeError):
            owner = None
        if key_id is not None and owner in self.keys and self.any_id_to_key_id(key_id) != owner:
            raise _error("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
        if owner in self.keys:
            _usable(self, owner)
        return decrypt(self, ciphertext_blob, encryption_context, key_id)

    replicas = [name for name in os.environ.get("KEYFS_MOTO_REPLICAS", "").split(",") if name]
    describe = Table.describe

    def global_describe(self, base_key="TableDescription"):
        answer = describe(self, base_key)
        if len(replicas) > 1:
            answer[base_key]["Replicas"] = [{"RegionName": name, "ReplicaStatus": "ACTIVE"} for name in replicas]
            answer[base_key]["MultiRegionConsistency"] = "STRONG"
        return answer

    Table.describe = global_describe
    models.KmsBackend.encrypt, models.KmsBackend.decrypt = checked_encrypt, checked_decrypt
    for name in ("encrypt", "decrypt", "generate_data_key"):
        setattr(KmsResponse, name, _dry(getattr(KmsResponse, name)))


def _dry(operation):
    def checked(self):
        answer = operation(self)
        if self._get_param("DryRun"):
            raise _error("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
        return answer

    return checked

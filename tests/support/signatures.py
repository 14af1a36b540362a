"""Looking at signatures with a crypto library that is not keyfs's way of using one: python's cryptography."""
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

HASHES = {"SHA_256": hashes.SHA256(), "SHA_384": hashes.SHA384(), "SHA_512": hashes.SHA512()}
RSA = [f"RSASSA_{scheme}_{name}" for scheme in ("PKCS1_V1_5", "PSS") for name in HASHES]
# By KMS's name of the kind of key.
COMBINATIONS = {"ECC_NIST_P256": ["ECDSA_SHA_256"], "ECC_NIST_P384": ["ECDSA_SHA_384"], "RSA_2048": RSA, "RSA_4096": RSA}


def hash_name(algorithm):
    """As hashlib calls it."""
    return algorithm[-7:].replace("_", "").lower()


def verifies(public_der, algorithm, data, signature, salt=None):
    """Whether it is this key's signature over data. salt: of PSS, if it is not to be as long as the hash."""
    public, chosen = serialization.load_der_public_key(public_der), HASHES[algorithm[-7:]]
    try:
        if algorithm.startswith("ECDSA"):
            public.verify(signature, data, ec.ECDSA(chosen))
        elif "PSS" in algorithm:
            public.verify(signature, data, padding.PSS(padding.MGF1(chosen), chosen.digest_size if salt is None else salt), chosen)
        else:
            public.verify(signature, data, padding.PKCS1v15(), chosen)
    except InvalidSignature:
        return False
    return True

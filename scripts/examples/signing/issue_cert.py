#!/usr/bin/env python3
"""issue_cert.py MOUNTPOINT KEY ca NAME >CA.PEM                 a CA's own certificate, whose key is keyfs's signing key
issue_cert.py MOUNTPOINT KEY leaf NAME CA.PEM CSR.PEM >CERT.PEM  a certificate for the key and the names of a signing request

X.509 (RFC 5280), with the package cryptography. It wants a private key to sign with, and here there is none to be had: so the certificate is signed by a
throwaway key of the same kind first, and that signature is replaced by one from keyfs over the same bytes, which name the algorithm and the issuer's key.
"""
import datetime
import hashlib
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

DAYS = {"ca": 3650, "leaf": 30}
THROWAWAY = {"EC_P256": lambda: ec.generate_private_key(ec.SECP256R1()), "EC_P384": lambda: ec.generate_private_key(ec.SECP384R1()),
             "RSA_2048": lambda: rsa.generate_private_key(65537, 2048), "RSA_4096": lambda: rsa.generate_private_key(65537, 2048)}
ALGORITHM = {"EC_P256": "ECDSA_SHA_256", "EC_P384": "ECDSA_SHA_384", "RSA_2048": "RSASSA_PKCS1_V1_5_SHA_256", "RSA_4096": "RSASSA_PKCS1_V1_5_SHA_256"}


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def tlv(tag, contents):
    """A DER element."""
    size = len(contents)
    length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + contents


def with_signature(certificate, signature):
    """The same certificate, with another signature: SEQUENCE { tbsCertificate, signatureAlgorithm, BIT STRING }."""
    body = certificate.public_bytes(serialization.Encoding.DER)[:-len(tlv(0x03, b"\0" + certificate.signature))]
    outer = 2 if body[1] < 128 else 2 + (body[1] & 0x7F)
    return x509.load_der_x509_certificate(tlv(0x30, body[outer:] + tlv(0x03, b"\0" + signature)))


def issue(mount, key, builder):
    folder = os.path.join(mount, ".keyfs", "sign", key)
    kind = read(folder, "type").decode().strip()
    hash_ = hashes.SHA384() if kind == "EC_P384" else hashes.SHA256()
    draft = builder.sign(THROWAWAY[kind](), hash_)
    digest = hashlib.new(hash_.name, draft.tbs_certificate_bytes).hexdigest()
    # By the key that the certificate names, and no other: ESTALE if it was rotated meanwhile.
    pin = os.path.join(folder, "at", hashlib.sha256(public_key(mount, key)).hexdigest())
    return with_signature(draft, read(pin, ALGORITHM[kind], digest))  # this open signs


def public_key(mount, key):
    return read(mount, ".keyfs", "sign", key, "pub.der")


def begun(kind, subject, issuer, key, ca_key):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(days=DAYS[kind]))
            .add_extension(x509.BasicConstraints(ca=kind == "ca", path_length=0 if kind == "ca" else None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key), critical=False)
            .add_extension(x509.KeyUsage(kind == "leaf", False, False, False, False, kind == "ca", kind == "ca", False, False), critical=True))


def main(mount, key, kind, name, *files):
    ca_key = serialization.load_der_public_key(public_key(mount, key))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    if kind == "ca":
        builder = begun("ca", subject, subject, ca_key, ca_key)
    else:
        ca, request = x509.load_pem_x509_certificate(read(files[0])), x509.load_pem_x509_csr(read(files[1]))
        if not request.is_signature_valid:
            sys.exit("the signing request is not signed by its own key")
        if ca.public_key() != ca_key:
            sys.exit(f"{files[0]} is not of the key that {key} is now")
        builder = begun("leaf", subject, ca.subject, request.public_key(), ca_key)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    print(issue(mount, key, builder).public_bytes(serialization.Encoding.PEM).decode(), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""scripts/examples/signing, and the README's session on signing keys, as they are: what they sign is accepted by OpenSSL and by Python's cryptography."""
import base64
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from support.cli import DONE
from support.process import ROOT_DIR

EXAMPLES = os.path.join(ROOT_DIR, "scripts", "examples", "signing")
RELEASE = os.urandom(100_000)


@pytest.fixture
def keyfs(launch):
    """A daemon with [sign *], and make(id, type), which makes a key there and gives where its files are."""
    daemon = launch(sections={"sign *": {"use": "uid:0", "admin": "uid:0"}})

    def make(key, kind):
        done = daemon.cli("sign create", key, "--type", kind)
        assert done.returncode == DONE, done
        return daemon.path(f".keyfs/sign/{key}")

    daemon.make = make
    return daemon


def ran(*words, stdin=None, code=0):
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == code, done
    return done.stdout


def example(name):
    return os.path.join(EXAMPLES, name)


@pytest.mark.parametrize("kind, algorithm", [("EC_P256", "ECDSA_SHA_256"), ("EC_P384", "ECDSA_SHA_384"), ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256")])
def test_a_file_is_signed_by_a_shell_and_verified_by_python(keyfs, folder, kind, algorithm):
    files = keyfs.make("release", kind)
    release, signature = folder / "release.tar", folder / "release.sig"
    release.write_bytes(RELEASE)
    signature.write_bytes(ran("bash", example("sign.sh"), keyfs.mount, "release", release))
    words = [sys.executable, example("verify.py"), os.path.join(files, "pub.pem"), algorithm, signature, release]
    assert ran(*words) == b"good\n"
    release.write_bytes(RELEASE + b"x")
    ran(*words, code=1)


def test_a_pss_signature_is_verified_by_python(keyfs, folder):
    files = keyfs.make("release", "RSA_2048")
    digest = hashes.Hash(hashes.SHA512())
    digest.update(RELEASE)
    with open(os.path.join(files, "RSASSA_PSS_SHA_512", digest.finalize().hex()), "rb") as f:
        signature = f.read()
    with open(os.path.join(files, "pub.pem"), "rb") as f:
        pem = f.read()
    spec = importlib.util.spec_from_file_location("verify", example("verify.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.verify(pem, "RSASSA_PSS_SHA_512", signature, RELEASE)
    with pytest.raises(InvalidSignature):
        module.verify(pem, "RSASSA_PSS_SHA_512", signature, RELEASE + b"x")


@pytest.mark.parametrize("kind", ["EC_P256", "EC_P384", "RSA_2048"])
def test_openssl_accepts_a_certificate_whose_ca_is_a_signing_key(keyfs, folder, kind):
    keyfs.make("ca", kind)
    ca, leaf, csr = folder / "ca.pem", folder / "leaf.pem", folder / "csr.pem"
    issue = [sys.executable, example("issue_cert.py"), keyfs.mount, "ca"]
    ca.write_bytes(ran(*issue, "ca", "A CA in keyfs"))
    ran("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / "key.pem", "-subj", "/CN=x", "-out", csr)
    leaf.write_bytes(ran(*issue, "leaf", "www.example.org", ca, csr))
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.example.org", "-CAfile", ca]
    assert ran(*words, leaf) == f"{leaf}: OK\n".encode()
    # After a rotation the new key is not passed off as the old CA's.
    assert keyfs.cli("sign rotate", "ca").returncode == DONE
    keyfs.restart()
    told = subprocess.run([*issue, "leaf", "www.example.org", ca, csr], capture_output=True, text=True, timeout=60)
    assert told.returncode == 1 and "is not of the key that ca is now" in told.stderr, told


def test_a_token_says_which_key_has_signed_it(keyfs):
    files = keyfs.make("tokens", "EC_P256")
    token = ran(sys.executable, example("sign_jwt.py"), keyfs.mount, "tokens", stdin=b'{"sub": "me"}').decode().strip()
    parts = token.split(".")
    header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    with open(os.path.join(files, "fingerprint")) as f:
        assert json.loads(header) == {"alg": "ES256", "kid": f.read().strip(), "typ": "JWT"}
    assert json.loads(claims) == {"sub": "me"} and len(signature) == 64
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    with open(os.path.join(files, "pub.pem"), "rb") as f:
        load_pem_public_key(f.read()).verify(utils.encode_dss_signature(r, s), ".".join(parts[:2]).encode(), ec.ECDSA(hashes.SHA256()))


def test_the_session_in_the_readme_works_as_printed(keyfs, folder):
    with open(os.path.join(ROOT_DIR, "README.md")) as f:
        block = re.search(r"^```\n(\$ keyfs sign create.*?)^```$", f.read().split("\n## Signing\n", 1)[1], re.S | re.M).group(1)
    create, *rest = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    made, *printed = [line for line in block.splitlines() if not line.startswith("$ ")]
    words = create.split()
    done = keyfs.cli(" ".join(words[1:3]), *words[3:])
    assert done.returncode == DONE and done.stdout.startswith(re.sub(r"[0-9a-f]{4}\.\.\.$", "", made)), done
    (folder / "release.tar").write_bytes(RELEASE)
    script = "\n".join(["set -e", *rest]).replace("/run/keyfs", keyfs.mount)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == (0, printed), done

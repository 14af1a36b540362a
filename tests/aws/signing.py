"""Shared by the tests of signing keys in KMS: configurations over the double (support/kms_double), the files below .keyfs/sign, and the commands."""
import contextlib
import hashlib
import json
import os
import subprocess

import cloud
from mount.seen import ADMIN
from support.daemon import Daemon, local_sections
from support.kms_double import KmsDouble
from support.signatures import hash_name

ONE, TWO = "us-east-1", "us-west-2"
PREFIX, DESCRIPTION = "alias/KEYFS/default/", "KEYFS_SIGN/default/"
ALL = {"use": "uid:0", "see": "uid:0", "create": "uid:0", "admin": "uid:0"}
# KMS's name of each type, and the type's algorithms are in support.signatures.COMBINATIONS.
SPECS = {"EC_P256": "ECC_NIST_P256", "EC_P384": "ECC_NIST_P384", "RSA_2048": "RSA_2048", "RSA_4096": "RSA_4096"}


def sections(folder, kms, regions=None, keyfs=None, policy=None, **signing):
    """A daemon's configuration: data keys in SQLite and local regions, signing keys at the double (regions: all of its own)."""
    made = local_sections(os.path.join(str(folder), "parts"), **(keyfs or {}))
    made["signing"] = {"custody": "kms", "regions": regions or kms.regions, "endpoint": kms.any_url, **signing}
    for glob, entries in (policy or {"*": ALL}).items():
        made[f"sign {glob}"] = entries
    return {**made, "rotation": {"run": "no", "poll_every": "1h"}, **ADMIN}


@contextlib.contextmanager
def place(folder, name="alone", regions=(ONE,), keyfs=None, **signing):
    """(the double of its own, a Daemon that is not started): what a test that runs many of them at once has for each."""
    with KmsDouble(regions) as kms:
        where = os.path.join(str(folder), name)
        daemon = Daemon(where, sections(where, kms, keyfs=keyfs, **signing), env=cloud.CREDENTIALS)
        # Only what creates makes the database, in which wrapped keys are looked for too.
        subprocess.run([daemon.program, "create", *daemon.source, "any"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=daemon.env)
        yield kms, daemon


# -- commands

def begin(daemon, verb, *args):
    """`keyfs sign VERB ... --json`, begun: Popen."""
    return subprocess.Popen([daemon.program, "sign", verb, *daemon.source, "--json", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=daemon.env)


def command(daemon, verb, *args, timeout=90):
    """`keyfs sign VERB ... --json` to its end: CompletedProcess with text."""
    with begin(daemon, verb, *args) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def told(daemon, verb, *args):
    """The first key of the command's answer; the command must have ended well."""
    done = command(daemon, verb, *args)
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    return json.loads(done.stdout)["keys"][0]


def create(daemon, ident, kind="EC_P256"):
    return told(daemon, "create", ident, "--type", kind)


# -- files

def path(daemon, ident, *more):
    return os.path.join(daemon.mount, ".keyfs", "sign", ident, *more)


def read(daemon, ident, *more):
    with open(path(daemon, ident, *more), "rb", buffering=0) as f:
        return f.read()


def public(daemon, ident):
    """The public key, DER."""
    return read(daemon, ident, "pub.der")


def fingerprint(public_der):
    return hashlib.sha256(public_der).hexdigest()


def sign(daemon, ident, data, algorithm="ECDSA_SHA_256", pinned=None):
    """The signature over data, from the file that is named by its digest."""
    digest = hashlib.new(hash_name(algorithm), data).hexdigest()
    return read(daemon, ident, *(("at", pinned) if pinned else ()), algorithm, digest)


# -- keys that were there before

def existing(kms, ident, regions=None, spec="ECC_NIST_P256"):
    """A key as keyfs makes it, with its alias in the first region: its id."""
    regions = regions or kms.regions
    made = kms.call(regions[0], "CreateKey", KeySpec=spec, KeyUsage="SIGN_VERIFY", MultiRegion=len(regions) > 1, Description=DESCRIPTION + ident)["KeyMetadata"]
    for region in regions[1:]:
        kms.call(regions[0], "ReplicateKey", KeyId=made["KeyId"], ReplicaRegion=region, Description=DESCRIPTION + ident)
    kms.call(regions[0], "CreateAlias", AliasName=PREFIX + ident, TargetKeyId=made["KeyId"])
    return made["KeyId"]

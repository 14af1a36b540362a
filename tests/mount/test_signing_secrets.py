"""The private halves of wrapped signing keys: after signatures they are in locked memory once, as they are kept, and nowhere else: no numbers that OpenSSL made of
them, no core dump, no file below the mount, no file of keyfs. The test knows them because it unwraps them with the master, as nobody else should."""
import base64
import glob
import hashlib
import os
import struct
import subprocess

import seen
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_private_key
from rotating import text
from support import memory
from support.daemon import Daemon

KINDS = {"ec": ("EC_P256", "ECDSA_SHA_256"), "rsa": ("RSA_2048", "RSASSA_PSS_SHA_256")}


def unwrapped(state, ident):
    """The PKCS #8 of a wrapped signing key, by the first local master (kms/local_region.cc)."""
    record = seen.records(os.path.join(state, "keys.db"))[".sign." + ident]
    wrap = next(iter(record["versions"][str(record["current"])]["wrapped"].items()))
    with open(os.path.join(state, "masters", f"{wrap[0]}.key"), "rb") as f:
        master = f.read()
    blob = base64.b64decode(wrap[1]["blob"])
    context = {"keyfs:id": record["id"], "keyfs:version": str(record["current"]), "keyfs:store": record["origin"]}
    bound = blob[:9] + struct.pack(">I", len(context)) + b"".join(text(k) + text(v) for k, v in sorted(context.items()))
    return AESGCM(master).decrypt(blob[9:21], blob[21:], bound)


def numbers(pkcs8):
    """Secret numbers of a key, each as it is written in PKCS #8 and as OpenSSL computes with it (least significant byte first)."""
    private = load_der_private_key(pkcs8, None).private_numbers()
    secret = {"d": private.private_value} if hasattr(private, "private_value") else {"d": private.d, "p": private.p, "dmp1": private.dmp1}
    found = {}
    for name, value in secret.items():
        size = (value.bit_length() + 7) // 8
        found[name], found[name + " as limbs"] = value.to_bytes(size, "big"), value.to_bytes(size, "little")
    return found


def sign(keyfs, ident, algorithm, count):
    """In another process, many times."""
    for n in range(count):
        digest = hashlib.sha256(b"%d" % n).hexdigest()
        assert subprocess.run(["cat", keyfs.path(f".keyfs/sign/{ident}/{algorithm}/{digest}")], capture_output=True, check=True).stdout


def locked(pid, address):
    """Whether a mapping is locked, left out of core dumps, and empty in a child."""
    flags, inside = set(), False
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            first = line.split(maxsplit=1)[0]
            if "-" in first and not first.endswith(":"):
                start, end = (int(x, 16) for x in first.split("-"))
                inside = start <= address < end
            elif inside and first == "VmFlags:":
                flags = set(line.split()[1:])
    return {"lo", "dd", "wf"} <= flags


def test_a_private_key_is_in_locked_memory_once_and_nowhere_else(folder):
    state = str(folder / "embedded")
    keyfs = Daemon(folder, embedded=state)
    with keyfs:
        needles = {}
        for ident, (kind, algorithm) in KINDS.items():
            made = subprocess.run([keyfs.program, "sign", "create", *keyfs.source, ident, "--type", kind], capture_output=True, text=True)
            assert made.returncode == 0, made
            sign(keyfs, ident, algorithm, 30)
            needles |= {f"{ident} {name}": value for name, value in numbers(unwrapped(state, ident)).items()}
        hits = memory.scan_process(keyfs.pid, needles)
        assert {hit.needle for hit in hits} >= {"ec d", "rsa d"}, "the search finds what must be there"
        assert [str(hit) for hit in hits if not locked(keyfs.pid, hit.offset)] == []
        for needle in needles:
            found = [str(hit) for hit in hits if hit.needle == needle]
            whole = [hit for hit in hits if hit.needle == needle and hit.form == "raw"]
            assert found == [] if "limbs" in needle else len(whole) == 1, found
        core = memory.gcore(keyfs.pid, folder)
        assert list(map(str, memory.scan_file(core, needles))) == []
        os.unlink(core)
        for root, _, names in os.walk(keyfs.path(".keyfs")):
            for name in names:
                assert list(map(str, memory.scan_file(os.path.join(root, name), needles))) == []
    for name in glob.glob(os.path.join(state, "**"), recursive=True):
        if os.path.isfile(name):
            assert list(map(str, memory.scan_file(name, needles))) == []

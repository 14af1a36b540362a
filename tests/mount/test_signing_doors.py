"""Signing keys from the outside: doors of data keys, names without end, a damaged record, a full disk."""
import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

import seen
from support.cli import DONE, FAILED, PARTIAL, USAGE
from support.process import eventually
from test_signing import POLICY, SEER, SIGN, bytes_at, keyfs_sign, named, verify, where
from test_signing import keyfs  # noqa: F401, the fixture

MIB = 1 << 20
LOOK = """
import os, sys
where, uid, first, count = sys.argv[1], *map(int, sys.argv[2:])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
for n in range(first, first + count):
    try:
        os.stat(f"{where}/{n:064x}")
    except BlockingIOError:
        pass
"""


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) * 1024


@pytest.mark.parametrize("command", [("create",), ("describe",), ("disable",), ("rotate",), ("delete", "--yes"), ("heal",), ("rewrap",), ("explain",)], ids=" ".join)
def test_a_record_of_a_signing_key_is_no_data_key_to_any_command(keyfs, command):
    before = seen.texts(seen.database(keyfs))
    done = keyfs.cli(command[0], ".sign.ca", *command[1:])
    assert done.returncode == USAGE and "is not a valid key id" in done.stderr, done
    assert seen.texts(seen.database(keyfs)) == before


def test_a_record_of_a_signing_key_is_no_file(keyfs):
    for path in (".sign.ca", ".keyfs/hex/.sign.ca", ".keyfs/base64/.sign.ca", ".keyfs/versions/.sign.ca/1", ".keyfs/sign/.sign.ca/pub.pem"):
        assert seen.error_name(bytes_at, keyfs.path(path)) == "ENOENT", path
    assert json.loads(keyfs.cli("list", "--json").stdout)["keys"] == []


def test_digests_that_are_only_looked_up_do_not_fill_the_memory(keyfs):
    der = bytes_at(where(keyfs, "pub.der"))
    before, most, signed = memory(keyfs.pid), 0, 0
    looks = [subprocess.Popen([sys.executable, "-Ic", LOOK, where(keyfs, "ECDSA_SHA_256"), str(SEER), str(n * 40_000), "40000"]) for n in range(2)]
    try:
        while any(look.poll() is None for look in looks):
            most = max(most, memory(keyfs.pid))
            message = b"%d" % (signed := signed + 1)
            verify(der, "ECDSA_SHA_256", message, bytes_at(where(keyfs, named("ECDSA_SHA_256", message))))
        assert [look.returncode for look in looks] == [0, 0] and signed > 1
    finally:
        for look in looks:
            look.kill()
            look.wait()
    assert most - before < 32 * MIB, f"{(most - before) / MIB:.1f} MiB"


@pytest.mark.parametrize("damage", [lambda text: "{", lambda text: text.replace("EC_P256", "RSA_2048"), lambda text: json.dumps({**json.loads(text), "kind": "other"})],
                         ids=["no JSON", "another type", "another kind"])
def test_a_damaged_record_is_named_and_other_keys_are_listed_and_sign(keyfs, damage):
    keyfs_sign(keyfs, "create", "ca2", "--type", "EC_P256")
    db = seen.database(keyfs)
    seen.put_text(db, ".sign.ca", damage(seen.texts(db)[".sign.ca"]))
    done = keyfs.cli("sign list", "--json")
    assert done.returncode == PARTIAL, done
    assert {key["id"]: key["state"] for key in json.loads(done.stdout)["keys"]} == {"ca": "unknown", "ca2": "enabled"}
    verify(bytes_at(where(keyfs, "pub.der", "ca2")), "ECDSA_SHA_256", b"x", bytes_at(where(keyfs, named("ECDSA_SHA_256", b"x"), "ca2")))

    def problems():
        return {key["id"]: bool(key["problem"]) for key in json.loads(bytes_at(keyfs.path(".keyfs/status")))["signing"]["keys"]}

    keyfs.process.send_signal(signal.SIGHUP)  # otherwise within list_every
    eventually(lambda: problems() == {"ca": True, "ca2": False}, 40, "the running daemon names it too")


@pytest.fixture
def small(folder):
    """A file system of 1 MiB."""
    path = folder / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_key_can_be_stopped_where_the_state_dir_is_full_and_no_key_is_made(launch, small):
    with launch(policy=POLICY, sections=SIGN, start=False, state_dir=str(small)) as keyfs:
        keyfs_sign(keyfs, "create", "ca", "--type", "EC_P256")
        der = bytes_at(where(keyfs, "pub.der"))
        fill = os.open(small / "fill", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(fill, b"0" * 512)
        os.close(fill)
        verify(der, "ECDSA_SHA_256", b"x", bytes_at(where(keyfs, named("ECDSA_SHA_256", b"x"))))
        before = seen.texts(seen.database(keyfs))
        for verb, *args in (("create", "ca-new", "--type", "EC_P256"), ("rotate", "ca"), ("delete", "ca", "--yes")):
            done = keyfs.cli(f"sign {verb}", *args)
            assert done.returncode == FAILED and "No space left on device" in done.stderr, done
        assert seen.texts(seen.database(keyfs)) == before
        # As keyfs disable does to a data key.
        done = keyfs.cli("sign disable", "ca")
        assert (done.returncode, done.stdout) == (PARTIAL, "ca: disabled\n") and "could not record the change" in done.stderr, done
        eventually(lambda: seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"y"))) == "EKEYREVOKED", 40, "it is refused")
        os.unlink(small / "fill")
        assert keyfs.cli("sign enable", "ca").returncode == DONE
        eventually(lambda: seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"y"))) is None, 40, "it signs")

"""Signing as files: .keyfs/sign, with [sign ...] policy, audit and sizes, by keys of custody wrapped."""
import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

import seen
from support.process import eventually
from support.users import run_as, setpriv

USER, SEER, OTHER = 4001, 4002, 4003
SIGN = {
    "sign ca-pss": {"use": "uid:0", "create": "uid:0", "admin": "uid:0", "algorithms": "RSASSA_PSS_SHA_256"},
    "sign ca-slow": {"use": "uid:0", "create": "uid:0", "admin": "uid:0", "rate": "2/h"},
    "sign ca*": {"use": f"uid:0, uid:{USER}", "see": f"uid:{SEER}", "create": "uid:0", "admin": "uid:0"},
}
POLICY = {"ca*": {"read": f"uid:{OTHER}", "create": f"uid:{OTHER}"}, "*": seen.EVERYTHING}
KINDS = {"EC_P256": ["ECDSA_SHA_256"], "EC_P384": ["ECDSA_SHA_384"],
         "RSA_2048": [f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512)]}
SIGN_EVENT = {"time", "event", "id", "fingerprint", "pinned", "algorithm", "digest", "uid", "gid", "pid", "exe", "cgroup", "verdict", "section", "line", "region",
              "request", "us", "errno", "reason", "count"}


def keyfs_sign(keyfs, verb, *args):
    done = subprocess.run([keyfs.program, "sign", verb, *keyfs.source, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=keyfs.env)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def keyfs(launch):
    daemon = launch(policy=POLICY, sections={"signing": {"keys_per_hour": "100"}, **SIGN})
    keyfs_sign(daemon, "create", "ca", "--type", "EC_P256")
    return daemon


def where(keyfs, rest, ident="ca"):
    return keyfs.path(f".keyfs/sign/{ident}/{rest}")


def named(algorithm, message):
    """The name below the key's directory whose opening signs this message."""
    return f"{algorithm}/{hashlib.new('sha' + algorithm[-3:], message).hexdigest()}"


def bytes_at(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def verify(der, algorithm, message, signature):
    """By another library; raises InvalidSignature."""
    key = serialization.load_der_public_key(der)
    digest = getattr(hashes, "SHA" + algorithm[-3:])()
    if algorithm.startswith("ECDSA"):
        key.verify(signature, message, ec.ECDSA(digest))
    elif "PSS" in algorithm:
        key.verify(signature, message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    else:
        key.verify(signature, message, padding.PKCS1v15(), digest)


def signed(keyfs, **labels):
    return seen.total(keyfs, "keyfs_signatures_total", **labels)


def lines(keyfs, count):
    def told():
        return [line for line in keyfs.audit() if line["event"] == "sign"]

    eventually(lambda: len(told()) >= count, what=f"{count} lines about signatures")
    assert len(told()) == count, told()
    return told()


def await_rotated(keyfs, before, ident="ca"):
    """After `keyfs sign rotate`: until the daemon has heard of it."""
    keyfs.process.send_signal(signal.SIGHUP)
    return eventually(lambda: (now := bytes_at(where(keyfs, "fingerprint", ident))) != before and now, timeout=60, what="the daemon knows the new key")


def test_a_shell_signs_and_openssl_verifies(keyfs, folder):
    (folder / "message").write_bytes(b"hello")
    script = f'cat {where(keyfs, "ECDSA_SHA_256")}/$(sha256sum message | head -c 64) > signature && openssl dgst -sha256 -verify {where(keyfs, "pub.pem")} -signature signature message'
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == "Verified OK\n", done


@pytest.mark.parametrize("kind", KINDS)
def test_another_library_verifies_every_algorithm(keyfs, kind):
    keyfs_sign(keyfs, "create", "ca-any", "--type", kind)
    assert bytes_at(where(keyfs, "type", "ca-any")).decode() == kind + "\n"
    assert bytes_at(where(keyfs, "algorithms", "ca-any")).decode().split() == KINDS[kind]
    der = bytes_at(where(keyfs, "pub.der", "ca-any"))
    assert bytes_at(where(keyfs, "fingerprint", "ca-any")).decode() == hashlib.sha256(der).hexdigest() + "\n"
    for algorithm in KINDS[kind]:
        verify(der, algorithm, b"hello", bytes_at(where(keyfs, named(algorithm, b"hello"), "ca-any")))
    assert signed(keyfs, result="signed") == len(KINDS[kind])


def test_a_pinned_key_is_stale_once_it_was_rotated(keyfs):
    name = named("ECDSA_SHA_256", b"hello")
    first, der = bytes_at(where(keyfs, "fingerprint")), bytes_at(where(keyfs, "pub.der"))
    pinned = f"at/{first.decode().strip()}/{name}"
    verify(der, "ECDSA_SHA_256", b"hello", bytes_at(where(keyfs, pinned)))
    keyfs_sign(keyfs, "rotate", "ca")
    second = await_rotated(keyfs, first)
    assert seen.error_name(bytes_at, where(keyfs, pinned)) == "ESTALE"
    verify(bytes_at(where(keyfs, "pub.der")), "ECDSA_SHA_256", b"hello", bytes_at(where(keyfs, f"at/{second.decode().strip()}/{name}")))
    told = lines(keyfs, 3)
    assert [line["errno"] for line in told] == [None, "ESTALE", None]
    assert [line["pinned"] for line in told] == [x.decode().strip() for x in (first, first, second)]
    assert [line["fingerprint"] for line in told] == [x.decode().strip() for x in (first, second, second)]


def test_use_signs_see_reads_and_a_right_to_a_data_key_is_none(keyfs):
    name, pem = where(keyfs, named("ECDSA_SHA_256", b"hello")), where(keyfs, "pub.pem")
    for uid, may_sign, may_see in ((USER, True, True), (SEER, False, True), (OTHER, False, False)):
        assert (run_as(uid, uid, [], ["cat", name], text=False).returncode == 0) == may_sign, uid
        assert (run_as(uid, uid, [], ["cat", pem], text=False).returncode == 0) == may_see, uid
        assert (run_as(uid, uid, [], ["ls", keyfs.path(".keyfs/sign")]).stdout == "ca\n") == may_see, uid
        assert (run_as(uid, uid, [], ["test", "-r", name]).returncode == 0) == may_sign, uid
    assert run_as(OTHER, OTHER, [], ["cat", keyfs.path("ca")], text=False).returncode == 0
    assert run_as(USER, USER, [], ["cat", keyfs.path("ca")], text=False).returncode == 1
    assert [(line["uid"], line["verdict"], line["errno"]) for line in lines(keyfs, 3)] == [
        (USER, "allowed", None), (SEER, "denied", "EACCES"), (OTHER, "denied", "EACCES")]
    assert signed(keyfs, result="denied") == 2 and signed(keyfs, result="signed") == 1


def test_algorithms_and_rate_of_the_section_hold(keyfs):
    keyfs_sign(keyfs, "create", "ca-pss", "--type", "RSA_2048")
    assert bytes_at(where(keyfs, "algorithms", "ca-pss")) == b"RSASSA_PSS_SHA_256\n"
    assert sorted(os.listdir(where(keyfs, "", "ca-pss"))) == ["RSASSA_PSS_SHA_256", "algorithms", "at", "fingerprint", "pub.der", "pub.pem", "type"]
    assert seen.error_name(bytes_at, where(keyfs, named("RSASSA_PKCS1_V1_5_SHA_256", b"x"), "ca-pss")) == "EACCES"
    assert seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"x"), "ca-pss")) == "ENOENT"
    assert seen.error_name(bytes_at, where(keyfs, "RSASSA_PSS_SHA_256/abcd", "ca-pss")) == "ENOENT"
    keyfs_sign(keyfs, "create", "ca-slow", "--type", "EC_P256")
    tries = [seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"%d" % n), "ca-slow")) for n in range(4)]
    assert tries == [None, None, "EAGAIN", "EAGAIN"]
    assert signed(keyfs, result="throttled") == 2


def test_a_line_of_the_audit_tells_all_of_a_signature(keyfs):
    name = named("ECDSA_SHA_256", b"hello")
    cat = subprocess.run(setpriv(USER, USER, [], ["/bin/cat", where(keyfs, name)]), capture_output=True, timeout=60)
    assert cat.returncode == 0
    (line,) = lines(keyfs, 1)
    assert line.keys() == SIGN_EVENT
    assert (line["id"], line["algorithm"], line["digest"]) == ("ca", *name.split("/"))
    assert line["fingerprint"] == bytes_at(where(keyfs, "fingerprint")).decode().strip()
    assert (line["uid"], line["verdict"], line["section"], line["errno"], line["region"], line["count"]) == (USER, "allowed", "[sign ca*]", None, None, 1)
    assert os.path.basename(line["exe"]) == "cat" and line["us"] > 0


def test_nothing_is_signed_by_looking_around(keyfs):
    bytes_at(where(keyfs, "pub.pem"))  # known from now on
    before, name = seen.region_calls(keyfs), where(keyfs, named("ECDSA_SHA_256", b"hello"))
    for command in ("find .", "ls -laR .", "grep -r needle .keyfs/sign", "tar -cf /dev/null .keyfs/sign", "git status", "compgen -f .keyfs/sign/ca/", f"stat {name}",
                    f"test -e {name}", f"ls -la {name}", "du -a .", "getfattr -d .keyfs/sign/ca/pub.pem"):
        subprocess.run(["bash", "-c", command], cwd=keyfs.mount, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    assert signed(keyfs) == 0 and lines(keyfs, 0) == [] and seen.region_calls(keyfs) == before


def test_copies_are_whole_and_no_longer_than_the_signature(keyfs, folder):
    keyfs_sign(keyfs, "create", "ca-rsa", "--type", "RSA_2048")
    assert os.stat(where(keyfs, named("RSASSA_PSS_SHA_256", b"x"), "ca-rsa")).st_size == 512  # the most, of a key that is not known yet
    bytes_at(where(keyfs, "pub.der", "ca-rsa"))
    assert os.stat(where(keyfs, named("RSASSA_PSS_SHA_256", b"y"), "ca-rsa")).st_size == 256
    der = bytes_at(where(keyfs, "pub.der"))
    for n in range(12):  # DER of 70 to 72 bytes
        message = b"%d" % n
        path = where(keyfs, named("ECDSA_SHA_256", message))
        assert os.stat(path).st_size == 72
        subprocess.run(["cp", path, folder / "copied"], check=True, timeout=60)
        verify(der, "ECDSA_SHA_256", message, (folder / "copied").read_bytes())
        subprocess.run(["tar", "-cf", folder / "archive.tar", "-C", os.path.dirname(path), os.path.basename(path)], check=True, timeout=60, capture_output=True)
        packed = subprocess.run(["tar", "-xOf", folder / "archive.tar"], check=True, timeout=60, capture_output=True).stdout
        verify(der, "ECDSA_SHA_256", message, packed)
        fd = os.open(path, os.O_RDONLY)
        with open(folder / "sent", "wb") as out:
            os.sendfile(out.fileno(), fd, 0, 4096)
            size = os.fstat(fd).st_size
        os.close(fd)
        assert size == (folder / "sent").stat().st_size
        verify(der, "ECDSA_SHA_256", message, (folder / "sent").read_bytes())


def test_a_disabled_key_signs_no_more_and_what_is_open_stays(keyfs):
    name = where(keyfs, named("ECDSA_SHA_256", b"hello"))
    with open(name, "rb", buffering=0) as opened:
        before = opened.read()
        keyfs_sign(keyfs, "disable", "ca")
        keyfs.process.send_signal(signal.SIGHUP)
        eventually(lambda: seen.error_name(bytes_at, name) == "EKEYREVOKED", timeout=60)
        assert os.pread(opened.fileno(), 4096, 0) == before
    keyfs_sign(keyfs, "enable", "ca")
    keyfs.process.send_signal(signal.SIGHUP)
    eventually(lambda: seen.error_name(bytes_at, name) is None, timeout=60)


def test_a_signature_is_by_the_key_whose_fingerprint_is_told_while_keys_are_rotated(keyfs):
    """16 signers, 20 rotations: each signature verifies with the key that the audit names."""
    keys, failed, done, results = {}, [], threading.Event(), []

    def know():
        der = bytes_at(where(keyfs, "pub.der"))
        keys[hashlib.sha256(der).hexdigest()] = der

    def sign(signer):
        try:
            for n in range(10**6):
                if done.is_set():
                    return
                message = b"%d %d" % (signer, n)
                results.append((message, bytes_at(where(keyfs, named("ECDSA_SHA_256", message)))))
                done.wait(0.02)
        except Exception as e:  # shown by the test's own thread
            failed.append(e)

    know()
    signers = [threading.Thread(target=sign, args=(n,)) for n in range(16)]
    for signer in signers:
        signer.start()
    try:
        for _ in range(20):
            before = bytes_at(where(keyfs, "fingerprint"))
            keyfs_sign(keyfs, "rotate", "ca")
            await_rotated(keyfs, before)
            know()
            assert not failed, failed
    finally:
        done.set()
        for signer in signers:
            signer.join()
    assert not failed, failed
    told = {line["digest"]: line["fingerprint"] for line in lines(keyfs, len(results))}
    for message, signature in results:
        verify(keys[told[hashlib.sha256(message).hexdigest()]], "ECDSA_SHA_256", message, signature)
    assert len(set(told.values())) > 10


def test_the_embedded_default_signs(folder, make_daemon):
    keyfs = make_daemon(embedded=folder / "state").start()
    keyfs_sign(keyfs, "create", "ca", "--type", "EC_P256")
    verify(bytes_at(where(keyfs, "pub.der")), "ECDSA_SHA_256", b"x", bytes_at(where(keyfs, named("ECDSA_SHA_256", b"x"))))


def test_what_a_host_has_seen_of_a_key_binds_also_after_a_restart(keyfs):
    db = os.path.join(keyfs.folder, "parts", "keys.db")
    names = {"went": "disable", "gone": None, "shown": None}
    for ident in names:
        keyfs_sign(keyfs, "create", f"ca-{ident}", "--type", "EC_P256")
        assert bytes_at(where(keyfs, named("ECDSA_SHA_256", b"x"), f"ca-{ident}"))
    with contextlib.closing(sqlite3.connect(db)) as store:
        [(before,)] = store.execute("select record from records where id = '.sign.ca-went'").fetchall()
    keyfs_sign(keyfs, "disable", "ca-went")
    eventually(lambda: seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"y"), "ca-went")) == "EKEYREVOKED", 40, "it is refused")
    keyfs.terminate(signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(db)) as store, store:
        store.execute("update records set record = ?, revision = revision + 7 where id = '.sign.ca-went'", (before,))
        store.execute("delete from records where id = '.sign.ca-gone'")
        # A forger's public half, for those who verify with the file.
        [(text,), (other,)] = [store.execute("select record from records where id = ?", (f".sign.{x}",)).fetchone() for x in ("ca-shown", "ca")]
        record = json.loads(text)
        record["versions"]["1"]["public"] = json.loads(other)["versions"]["1"]["public"]
        store.execute("update records set record = ?, revision = revision + 7 where id = '.sign.ca-shown'", (json.dumps(record),))
    keyfs.start()
    assert seen.error_name(bytes_at, where(keyfs, "pub.pem", "ca-shown")) == "EBADMSG"
    for ident in names:
        assert seen.error_name(bytes_at, where(keyfs, named("ECDSA_SHA_256", b"z"), f"ca-{ident}")) == "EBADMSG", ident
    done = subprocess.run([keyfs.program, "sign", "create", *keyfs.source, "ca-gone", "--type", "EC_P256"], capture_output=True, text=True)
    assert done.returncode == 1 and "which this host has seen" in done.stderr, done

"""keyfs-spire as a SPIRE server sees it: the handshake, its contract for key managers, and what it lives through."""
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import new, sha256

import pytest

from support.process import alive, eventually, spawn
from support.signatures import verifies
from support.spire_client import CONFIG, HASHES, KEYS, TYPES, Plugin, environment, fields, message, program, refused

PREFIX = "alias/SPIRE_SERVER/example_org/srv1/"
COMBINATIONS = [("EC_P256", "sha256", False), ("EC_P384", "sha384", False)] + [
    (kind, name, pss) for kind in ("RSA_2048", "RSA_4096") for name in HASHES for pss in (False, True)]


def algorithm(kind, name, pss):
    scheme = "ECDSA" if kind.startswith("EC") else "RSASSA_PSS" if pss else "RSASSA_PKCS1_V1_5"
    return f"{scheme}_SHA_{name[3:]}"


def aliases(kms, region="us-east-1"):
    found, more = [], {}
    while True:
        page = kms.call(region, "ListAliases", **more)
        found += [a for a in page["Aliases"]]
        if not page.get("Truncated"):
            return {a["AliasName"]: a.get("TargetKeyId") for a in found}
        more = {"Marker": page["NextMarker"]}


# -- the start

def test_a_person_who_starts_it_gets_help():
    env = environment()
    del env["KeyManager"]
    done = subprocess.run([program()], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and not done.stdout and "plugin_cmd" in done.stderr
    assert subprocess.run([program(), "--version"], capture_output=True, text=True, timeout=20).stdout.startswith("keyfs-spire ")


def test_it_is_loaded_100_times_of_100(start):
    def load(_):
        with Plugin(env=environment()) as plugin:
            assert plugin.handshake == f"1|1|unix|{plugin.socket}|grpc"
            names = fields(plugin.call("/spire.service.private.init.v1.Init/Init"))[1]
            assert [n.decode() for n in names] == [KEYS.strip("/"), CONFIG.strip("/")]
            return plugin.close(), plugin.rest, os.path.exists(plugin.socket), plugin.took

    # From this thread: children die with the thread that starts them.
    results = [load(i) for i in range(100)]
    assert {r[:3] for r in results} == {(0, b"", False)}
    assert sorted(r[3] for r in results)[50] < 0.25


def test_the_socket_is_its_users_alone_and_the_log_is_as_spire_wants_it(start, settings):
    plugin = start(settings())
    place = os.stat(os.path.dirname(plugin.socket))
    assert stat.S_IMODE(place.st_mode) == 0o700 and place.st_uid == os.getuid()
    line = eventually(lambda: plugin.lines and json.loads(plugin.lines[-1]))
    assert line["@level"] == "info" and line["@message"] == "configured" and len(line["@timestamp"]) == 27
    plugin.close()
    assert not os.path.exists(os.path.dirname(plugin.socket))


def test_it_starts_with_closed_descriptors_and_blocked_signals_and_ignores_interrupts(start):
    strange = ["/usr/bin/python3", "-c", "import os, signal, sys; os.close(0); signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); "
               "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])", program()]
    plugin = start(argv=strange)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        plugin.process.send_signal(number)
    plugin.call("/grpc.health.v1.Health/Check", message(f1="plugin"))
    plugin.process.send_signal(signal.SIGTERM)
    assert plugin.process.wait(3) == 0


# -- the end

def test_it_ends_when_it_is_told_and_when_the_connection_is_closed(start):
    told = start()
    told.call("/plugin.GRPCController/Shutdown")
    assert told.process.wait(2) == 0
    left = start()
    left.closing.set()
    left.broker.cancel()
    left.channel.close()
    assert left.process.wait(2.5) == 0


def test_it_ends_when_spire_is_killed(tmp_path):
    """A stand-in for SPIRE, which holds no stream: only that it is gone can tell."""
    code = "import subprocess, sys, time; p = subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE); print(p.pid, p.stdout.readline().decode(), flush=True); time.sleep(60)"
    spire = spawn([sys.executable, "-c", code, program()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True)
    pid, handshake = spire.stdout.readline().split(" ")
    path = handshake.strip().split("|")[3]
    spire.kill()
    spire.wait()
    spire.stdout.close()
    eventually(lambda: not alive(int(pid)), 2, "it ends within 2 s")
    eventually(lambda: not os.path.exists(path), 1)


# -- what it is sent

def test_garbage_and_huge_messages_do_not_end_it(start, settings):
    plugin = start(settings())
    key = plugin.generate("a")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100_000, os.urandom(50_000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(9000)):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(plugin.socket)
            try:
                raw.sendall(data)
            except BrokenPipeError:
                pass
    assert refused(plugin.call, KEYS + "SignData", b"x" * (5 << 20))[0] == "RESOURCE_EXHAUSTED"
    for method in ("GenerateKey", "GetPublicKey", "SignData"):
        assert refused(plugin.call, KEYS + method, b"\x0a\xff") == ("INVALID_ARGUMENT", "the request could not be read")
    assert refused(plugin.call, KEYS + "Nothing")[0] == "UNIMPLEMENTED"
    assert plugin.public_keys() == {"a": key}


def test_1000_calls_at_once_are_answered(start, settings):
    plugin = start(settings())
    plugin.generate("a")
    sign = plugin.channel.unary_unary(KEYS + "SignData")
    calls = [sign.future(message(f1="a", f2=sha256(b"x").digest(), f3=5), timeout=30) for _ in range(1000)]
    assert {fields(c.result())[2][0] for c in calls} == {plugin.public_key("a").fingerprint.encode()}


# -- the configuration

def test_validation_tells_all_mistakes_at_once_and_makes_nothing(start, tmp_path):
    plugin = start()
    wrong = f'regoin = "us-east-1"\nkey_identifier_file = "{tmp_path}/none/id"\naccess_key_id = "AKID"\nkey_tags = {{ "aws:x" = "y" }}\n'
    valid, notes = plugin.validate(wrong)
    assert not valid and len(notes) == 5, notes
    code, text = refused(plugin.configure, wrong)
    assert code == "INVALID_ARGUMENT" and all(part in text for part in ("regoin", "region is required", "secret_access_key", "aws:", "key_identifier_file"))
    assert refused(plugin.public_keys) == ("FAILED_PRECONDITION", "not configured")
    good = f'region = "us-east-1"\nkey_identifier_file = "{tmp_path}/id"\n'
    assert plugin.validate(good) == (True, []) and not os.path.exists(tmp_path / "id")


def test_an_identifier_file_is_made_once_and_the_aliases_are_those_of_aws_kms(start, settings, kms, tmp_path):
    configuration = settings().replace('key_identifier_value = "srv1"', f'key_identifier_file = "{tmp_path}/id"')
    plugin = start(configuration)
    key = plugin.generate("x509-CA-A")
    identifier = (tmp_path / "id").read_text()
    assert stat.S_IMODE(os.stat(tmp_path / "id").st_mode) == 0o600
    assert f"alias/SPIRE_SERVER/example_org/{identifier}/x509-CA-A" in aliases(kms)
    plugin.close()
    assert start(configuration).public_keys() == {"x509-CA-A": key}


def test_kms_that_is_out_fails_a_configuration_in_time_and_the_old_one_goes_on(start, settings):
    plugin = start(settings())
    key = plugin.generate("a")
    began = time.monotonic()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # refuses
        code, text = refused(plugin.configure, settings(server="srv2", endpoint=f"http://127.0.0.1:{nobody.getsockname()[1]}"), timeout=3)
    assert code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and time.monotonic() - began < 4, text
    assert plugin.public_keys() == {"a": key}
    plugin.configure(settings())  # the same: nothing is asked
    plugin.configure(settings(server="srv2"))
    assert plugin.public_keys() == {}


# -- the contract of SPIRE's key managers

def test_keys_of_all_types_are_made_and_made_anew(start, settings):
    plugin = start(settings())
    for kind, number in TYPES.items():
        first = plugin.generate(kind, kind)
        assert (first.id, first.type) == (kind, number) and first.fingerprint == sha256(first.der).hexdigest()
        assert plugin.public_key(kind) == first
    again = plugin.generate("EC_P256", "EC_P256")
    assert again.fingerprint != first.fingerprint and plugin.public_key("EC_P256") == again
    assert set(plugin.public_keys()) == set(TYPES)


def test_the_14_combinations_sign_and_no_others(start, settings):
    plugin = start(settings())
    keys = {kind: plugin.generate(kind, kind) for kind in TYPES}
    for kind in TYPES:
        for name, number in HASHES.items():
            digest = new(name, b"data").digest()
            for pss in (False, True):
                if (kind, name, pss) in COMBINATIONS:
                    made, fingerprint = plugin.sign(kind, digest, number, pss)
                    assert fingerprint == keys[kind].fingerprint and verifies(keys[kind].der, algorithm(kind, name, pss), b"data", made)
                else:
                    assert refused(plugin.sign, kind, digest, number, pss)[0] == "INVALID_ARGUMENT"
    assert refused(plugin.sign, "RSA_2048", b"short", 5)[0] == "INVALID_ARGUMENT"


def test_requests_are_refused_in_spires_words(start, settings):
    plugin = start(settings())
    plugin.generate("a")
    assert refused(plugin.generate, "", 1) == ("INVALID_ARGUMENT", "key id is required")
    assert refused(plugin.generate, "a", 0) == ("INVALID_ARGUMENT", "key type is required")
    assert refused(plugin.public_key, "") == ("INVALID_ARGUMENT", "key id is required")
    assert refused(plugin.public_key, "b") == ("NOT_FOUND", 'key "b" not found')
    assert refused(plugin.sign, "b", bytes(32)) == ("NOT_FOUND", 'key "b" not found')
    assert refused(plugin.call, KEYS + "SignData", message(f1="a", f2=bytes(32))) == ("INVALID_ARGUMENT", "signer opts is required")
    assert refused(plugin.sign, "a", bytes(32), 0) == ("INVALID_ARGUMENT", "hash algorithm is required")


def test_names_that_fall_together_in_aws_kms_are_two_keys(start, settings, kms):
    plugin = start(settings())
    one, other = plugin.generate("a.b"), plugin.generate("a_2eb")
    assert one.fingerprint != other.fingerprint and plugin.public_keys() == {"a.b": one, "a_2eb": other}
    assert PREFIX + "a_2eb" in aliases(kms)
    plugin.close()
    assert start(settings()).public_keys() == {"a.b": one, "a_2eb": other}


def test_16_sign_while_their_key_is_made_anew_20_times(start, settings):
    plugin = start(settings(more='grace = "1h"'))
    keys, done, wrong = [plugin.generate("a")], threading.Event(), []

    def sign():
        signed = []
        while not done.is_set():
            digest = os.urandom(32)
            signed.append((digest, *plugin.sign("a", digest)))
        return signed

    with ThreadPoolExecutor(16) as pool:
        signers = [pool.submit(sign) for _ in range(16)]
        try:
            for _ in range(20):
                keys.append(plugin.generate("a"))
        finally:
            done.set()
        by = {k.fingerprint: k.der for k in keys}
        for signer in signers:
            for digest, made, fingerprint in signer.result():
                if not verifies_digest(by[fingerprint], digest, made):
                    wrong.append(fingerprint)
    assert not wrong and len({k.fingerprint for k in keys}) == 21


def verifies_digest(der, digest, signature):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    try:
        serialization.load_der_public_key(der).verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


# -- what a start asks

def test_a_restart_comes_up_with_the_same_keys_and_asks_for_the_names_only(start, settings, kms):
    plugin = start(settings())
    keys = {i: plugin.generate(i) for i in ("x509-CA-A", "JWT-Signer-A")}
    plugin.close()
    kms.forget_log()
    assert start(settings()).public_keys() == keys
    assert kms.counts() == {"ListAliases": 1}


def test_of_500_aliases_4_of_ours_cost_5_pages_and_4_public_keys(start, settings, kms):
    for i in range(500):
        ours = i % 125 == 7
        key = kms.call("us-east-1", "CreateKey", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        kms.call("us-east-1", "CreateAlias", AliasName=f"{PREFIX}k{i}" if ours else f"alias/SPIRE_SERVER/example_org/srv10/k{i}", TargetKeyId=key)
    plugin = start(settings())
    assert sorted(plugin.public_keys()) == ["k132", "k257", "k382", "k7"]
    assert kms.counts() == {"ListAliases": 5, "GetPublicKey": 4}


def test_one_region_of_two_is_enough_to_sign(start, settings, kms):
    plugin = start(settings(regions=["us-east-1", "us-west-2"]))
    key = plugin.generate("a")
    kms.fault(region="us-east-1", operation="Sign", do="hang", times=None)
    made, fingerprint = plugin.sign("a", sha256(b"x").digest())
    assert fingerprint == key.fingerprint and verifies(key.der, "ECDSA_SHA_256", b"x", made)


# -- custody wrapped

def test_custody_wrapped_keeps_the_keys_in_keyfss_store_each_server_its_own(start, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir(mode=0o700)
    sections = f"[keyfs]\nstate_dir = {parts}\n[store]\ntype = sqlite\npath = {parts}/keys.db\n"
    for name in ("a", "b"):
        (parts / f"{name}.master").write_bytes(os.urandom(32))
        os.chmod(parts / f"{name}.master", 0o600)
        sections += f"[region {name}]\ntype = local\nkey_file = {parts}/{name}.master\n"
    (parts / "keyfs.ini").write_text(sections)
    os.chmod(parts / "keyfs.ini", 0o600)

    def configuration(server):
        return f'custody = "wrapped"\nkey_identifier_value = "{server}"\nconfig = "{parts}/keyfs.ini"\nstate_dir = "{tmp_path}/state"\n'

    plugin = start(configuration("one/a"))
    keys = {kind: plugin.generate(kind, kind) for kind in ("EC_P256", "RSA_2048")}
    keys["a.b~c"] = plugin.generate("a.b~c")
    assert plugin.public_keys() == keys
    made, _ = plugin.sign("RSA_2048", sha256(b"x").digest(), 5, True)
    assert verifies(keys["RSA_2048"].der, "RSASSA_PSS_SHA_256", b"x", made)
    assert start(configuration("one")).public_keys() == {}
    plugin.close()
    again = start(configuration("one/a"))
    assert again.public_keys() == keys
    assert again.generate("EC_P256").fingerprint != keys["EC_P256"].fingerprint

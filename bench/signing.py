"""Signatures through the mount: against OpenSSL's own, and against the bare call of KMS's Sign."""

import json
import pathlib
import subprocess
import sys

from measure import row, run_json
from stand import Keyfs, Process, embedded_config

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = ("EC_P256", "EC_P384", "RSA_2048", "RSA_4096")
POLICY = "[sign *]\nuse = any\nsee = any\ncreate = uid:0\nadmin = uid:0\n"
REGION = "us-east-1"
# Against the bare call, of those that take a time as on a network.
KMS_LIMIT = 1.15


def us(values):
    return [ns / 1000 for ns in values]


def sign_bench(stand, operation, keyfs, scale, *more):
    return run_json([stand.tool("sign_bench"), operation, "--mount", str(keyfs.mount), "--id", "ca", "--rounds", str(scale.limit_rounds),
                     "--round-ms", str(scale.round_ms), *map(str, more)], f"sign_bench {operation}")


def create(keyfs, kind):
    source = keyfs.command[3:5]  # --embedded DIR, or -c FILE
    subprocess.run([keyfs.command[0], "sign", "create", *source, "ca", "--type", kind], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=keyfs.environment)


def wrapped(stand, scale):
    for kind in TYPES:
        keyfs = stand.keyfs(f"wrapped-{kind}")
        (keyfs.mount / "plain").read_bytes()
        create(keyfs, kind)
        found = sign_bench(stand, "wrapped", keyfs, scale, "--type", kind, "--key", "plain")
        keyfs.stop()
        allowed = [1.5 * own + open_ for own, open_ in zip(found["own"], found["open"])]
        yield row("sign", f"{kind}, custody wrapped", us(found["signature"]), "1.5 times OpenSSL's own and a warm open", us(allowed), limit=1.0)
        both = [own + verify + open_ for own, verify, open_ in zip(found["own"], found["verify"], found["open"])]
        yield row("sign", f"{kind}, custody wrapped", us(found["signature"]), "OpenSSL's own, its verify, and a warm open", us(both))


class Double(Process):
    """KMS, as tests/support/kms_double has it."""

    def __init__(self, stand, delay):
        super().__init__(stand, [sys.executable, "-m", "tests.support.kms_double", "--regions", REGION, "--unsigned"], cwd=ROOT,
                         stdout=subprocess.PIPE, text=True)
        self.ports = json.loads(self.process.stdout.readline())
        if delay:
            fault = {"operation": "Sign", "do": "delay", "seconds": delay / 1e6, "times": None}
            subprocess.run(["curl", "-sf", "-d", json.dumps(fault), f"http://127.0.0.1:{self.ports['control']}/fault"], check=True, stdout=subprocess.DEVNULL)

    @property
    def port(self):
        return self.ports["regions"][REGION]


def kms(stand, scale):
    for delay in (0, 5_000, 20_000):
        double = Double(stand, delay)
        first = stand.keyfs(f"kms-{delay}")  # makes the masters and the database
        first.stop()
        text = embedded_config(first.state) + POLICY + f"[signing]\ncustody = kms\nregions = {REGION}\nendpoint = http://127.0.0.1:{double.port}\n"
        keyfs = Keyfs(stand, f"kms-{delay}", config=text, state=first.state, environment={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})
        create(keyfs, "EC_P256")
        (keyfs.mount / ".keyfs/sign/ca/pub.pem").read_bytes()
        keys = run_json(["curl", "-sf", f"http://127.0.0.1:{double.ports['control']}/keys"], "the double's keys")
        found = sign_bench(stand, "kms", keyfs, scale, "--arn", keys[0]["arn"], "--port", double.port, "--region", REGION)
        keyfs.stop()
        double.stop()
        yield row("sign", f"EC_P256, custody kms, Sign takes {delay / 1000:g} ms more", us(found["signature"]), "the bare call", us(found["bare"]),
                  limit=KMS_LIMIT if delay else None)


def signing(stand, scale):
    yield from wrapped(stand, scale)
    yield from kms(stand, scale)

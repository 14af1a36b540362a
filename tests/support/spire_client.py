"""keyfs-spire started as SPIRE's go-plugin starts it, and asked over gRPC. Messages are written by hand: there are few (fs/spire/messages.h has them)."""
import os
import select
import subprocess
import threading
import time
from dataclasses import dataclass

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # children only exec
import grpc  # noqa: E402

from support.process import ROOT_DIR, spawn, stop

KEYS, CONFIG = "/spire.plugin.server.keymanager.v1.KeyManager/", "/spire.service.common.config.v1.Config/"
TYPES = {"EC_P256": 1, "EC_P384": 2, "RSA_2048": 3, "RSA_4096": 4}
HASHES = {"sha256": 5, "sha384": 6, "sha512": 7}


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def message(**fields):
    """message(f1=b"text", f2=3): the fields of these numbers, in this order."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:]) << 3
        value = value.encode() if isinstance(value, str) else value
        out += varint(number) + varint(value) if isinstance(value, int) else varint(number | 2) + varint(len(value)) + value
    return out


def fields(data):
    """{number: [values]} of a message."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = data[at:at + value], at + value
        found.setdefault(tag >> 3, []).append(value)
    return found


@dataclass(frozen=True)
class Key:
    id: str
    type: int
    der: bytes
    fingerprint: str


def key_of(data):
    got = fields(data)
    return Key(got[1][0].decode(), got[2][0], got[3][0], got[4][0].decode())


def program():
    return os.environ.get("KEYFS_SPIRE_BINARY") or os.path.join(ROOT_DIR, "build", "dev", "fs", "spire", "keyfs-spire")


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PLUGIN_"))}
    return {**clean, "KeyManager": "KeyManager", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **more}


class Plugin:
    """A running plugin with its connection. As go-plugin does, it holds the broker's stream open; broker=False: it does not."""

    def __init__(self, argv=None, env=None, broker=True, **options):
        began = time.monotonic()
        self.process = spawn(argv or [program()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env or environment(), **options)
        self.lines, self._logs = [], threading.Thread(target=self._read_log, daemon=True)
        self._logs.start()
        self.handshake = self._line(20)
        self.socket = self.handshake.split("|")[3]
        self.channel = grpc.insecure_channel(f"unix:{self.socket}", options=[("grpc.enable_retries", 0)])
        self.broker = None
        if broker:
            self.closing = threading.Event()
            self.broker = self.channel.stream_stream("/plugin.GRPCBroker/StartStream")(iter(self._until_closed, None))
        self.call("/grpc.health.v1.Health/Check", message(f1="plugin"))
        self.took = time.monotonic() - began

    def _until_closed(self):
        self.closing.wait()

    def _read_log(self):
        for line in self.process.stderr:
            self.lines.append(line.decode())

    def _line(self, timeout):
        line, deadline = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            assert piece, f"no handshake: {line!r} {self.lines}"
            line += piece
        return line.decode().rstrip("\n")

    def call(self, method, request=b"", timeout=30):
        return self.channel.unary_unary(method)(request, timeout=timeout)

    def configure(self, hcl, trust_domain="example.org", method="Configure", timeout=30):
        return self.call(CONFIG + method, message(f1=message(f1=trust_domain), f2=hcl), timeout)

    def validate(self, hcl, trust_domain="example.org"):
        """(valid, notes)"""
        got = fields(self.configure(hcl, trust_domain, "Validate"))
        return got.get(1, [0])[0] == 1, [n.decode() for n in got.get(2, [])]

    def generate(self, key_id, kind="EC_P256", timeout=30):
        return key_of(fields(self.call(KEYS + "GenerateKey", message(f1=key_id, f2=TYPES.get(kind, kind)), timeout))[1][0])

    def public_key(self, key_id):
        return key_of(fields(self.call(KEYS + "GetPublicKey", message(f1=key_id)))[1][0])

    def public_keys(self):
        return {k.id: k for k in map(key_of, fields(self.call(KEYS + "GetPublicKeys")).get(1, []))}

    def sign(self, key_id, digest, hash_number=5, pss=False):
        """(signature, fingerprint)"""
        options = {"f4": message(f1=32, f2=hash_number)} if pss else {"f3": hash_number}
        got = fields(self.call(KEYS + "SignData", message(f1=key_id, f2=digest, **options)))
        return got[1][0], got[2][0].decode()

    def close(self):
        """The exit code. `rest` is what came on standard output after the handshake."""
        if self.process.stdout.closed:
            return self.process.returncode
        if self.broker:
            self.closing.set()
            self.broker.cancel()
        self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(5)
        self.rest = self.process.stdout.read()
        code = stop(self.process)
        self._logs.join(5)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refused(call, *args, **options):
    """(code, text) of a call that must be refused."""
    try:
        call(*args, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("it was not refused")

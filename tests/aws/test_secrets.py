"""Over TLS to KMS and DynamoDB: plaintexts that KMS sent or was sent, and secret access keys, are only in the daemon's locked memory while
they are in use, and nowhere after that; nor in anything that it writes or sends."""
import os
import secrets
import subprocess

import pytest

import cloud
from mount import seen
from support import memory
from support.process import eventually

ACCESS_KEYS = ("AKIAFIRST", "AKIASECOND")
KEYS = [f"secret-{n}" for n in range(6)]


class Profile:
    """~/.aws/credentials with one key, which is all that the proxies accept."""

    def __init__(self, aws, folder):
        self._aws, self.path = aws, folder / "credentials"
        self.env = {"AWS_SHARED_CREDENTIALS_FILE": str(self.path), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        self.secrets = {}

    def rotate(self):
        """Another access key; the one before is refused from now on. -> {name: its secret and its token}"""
        number = len(self.secrets)
        access_key, secret, token = ACCESS_KEYS[number], secrets.token_urlsafe(30), secrets.token_urlsafe(90)
        self.secrets[number] = {f"secret access key {number}": secret.encode(), f"session token {number}": token.encode()}
        self.path.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n")
        for region in self._aws.regions:
            for proxy in (region.kms, region.dynamodb):
                proxy.verify({access_key: {"secret": secret, "token": token}})
        return self.secrets[number]


@pytest.fixture
def profile(aws, folder):
    return Profile(aws, folder)


def served(keyfs, ids):
    """Keys as an application reads them, in another process: this one only keeps them as needles."""
    return {ident: subprocess.run(["cat", keyfs.path(ident)], capture_output=True, check=True).stdout for ident in ids}


def hits(keyfs, needles):
    return [str(hit) for hit in memory.scan_process(keyfs.pid, needles)]


def locked(pid):
    """The ranges of memory that are locked, not dumped, and not handed to a child."""
    found, span = [], None
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            head = line.split()[0]
            if "-" in head and not head.endswith(":"):
                span = [int(x, 16) for x in head.split("-")]
            elif head == "VmFlags:" and {"lo", "dd", "wf"} <= set(line.split()[1:]):
                found.append(span)
    return found


def crowd_out(keyfs):
    """Other keys are read until none of these is cached."""
    for n in range(60):
        with open(keyfs.path(f"other-{n}"), "rb", buffering=0) as f:
            f.read()
    assert seen.status(keyfs)["cache"]["evictions"] >= 56


def test_no_plaintext_of_a_creation_or_a_read_is_left_in_memory(launch):
    """GenerateDataKey's reply, the Encrypts' requests, Decrypt's reply: raw, in base64, or in part."""
    maker = launch(name="maker", tls=True, cache_keys=4)
    needles = served(maker, KEYS)
    assert hits(maker, needles), "the search finds those that are cached"
    crowd_out(maker)
    assert hits(maker, needles) == []
    reader = launch(name="reader", tls=True, cache_keys=4)
    assert served(reader, KEYS) == needles
    crowd_out(reader)
    assert hits(reader, needles) == []


def test_nor_of_calls_that_fail_are_hedged_or_cut_short(launch, aws):
    """Replies that were given up half-way, came twice or came damaged held plaintexts, too."""
    def in_flight():
        return sum(region.kms.calls("*", "in_flight") for region in aws.regions)

    maker = launch(name="maker", tls=True)
    needles = served(maker, KEYS)
    reader = launch(name="reader", tls=True, cache_keys=4)
    before = in_flight()
    aws.regions[0].kms.fault("truncate", op="Decrypt", keep=120, count=2)
    aws.regions[0].kms.fault("corrupt", op="Decrypt", field="KeyId", count=1)
    aws.regions[0].kms.fault("delay", op="Decrypt", seconds=1, where="reply", count=2)
    aws.regions[1].kms.fault("lose_reply", op="Decrypt", count=1)
    assert served(reader, KEYS) == needles
    crowd_out(reader)
    eventually(lambda: in_flight() <= before, 10, "all replies are there")
    assert hits(reader, needles) == []


def test_the_secret_access_key_is_in_locked_memory_only_and_gone_once_it_was_replaced(launch, profile):
    first = profile.rotate()
    keyfs = launch(tls=True, env=profile.env)
    served(keyfs, KEYS)
    used = [hit for hit in memory.scan_process(keyfs.pid, first) if hit.form == "raw"]
    assert {hit.needle for hit in used} == set(first), "it is what signs"
    spans = locked(keyfs.pid)
    assert [str(hit) for hit in used if not any(start <= hit.offset < end for start, end in spans)] == []

    second = profile.rotate()
    served(keyfs, ["new"])  # AWS refuses the old one: the file is read anew
    assert {hit.needle for hit in memory.scan_process(keyfs.pid, second) if hit.form == "raw"} == set(second)
    assert hits(keyfs, first) == []
    assert not any(needle.decode() in keyfs.log() for needle in [*first.values(), *second.values()])


def test_of_the_environment_only_the_kernels_own_block_keeps_it(launch, aws):
    """A secret in a program's environment stays in the block that the kernel placed above the stack; keyfs adds only the locked copy."""
    secret = secrets.token_urlsafe(30)
    for region in aws.regions:
        for proxy in (region.kms, region.dynamodb):
            proxy.verify({"AKIATEST": {"secret": secret}})
    keyfs = launch(tls=True, env={"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": secret})
    served(keyfs, KEYS)
    found = [hit for hit in memory.scan_process(keyfs.pid, {"secret access key": secret.encode()}) if hit.form == "raw"]
    with open(f"/proc/{keyfs.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    env_start, env_end = int(fields[47]), int(fields[48])
    spans = [*locked(keyfs.pid), (env_start, env_end)]
    assert len(found) >= 2
    assert [str(hit) for hit in found if not any(start <= hit.offset < end for start, end in spans)] == []


def test_nothing_that_it_writes_or_stores_holds_a_plaintext_or_a_secret(launch, profile, aws, table, folder):
    """State, replica, debug log, audit, status, metrics, core dump; the items in the table."""
    needles = dict(profile.rotate())
    keyfs = launch(tls=True, env=profile.env, log_level="debug", cache_keys=4)
    needles.update(served(keyfs, KEYS))
    keyfs.cli("describe", *KEYS)
    keyfs.cli("check")
    aws.regions[0].kms.fault("error", type="AccessDeniedException", message="a message that quotes nothing")
    crowd_out(keyfs)
    assert served(keyfs, KEYS[:2])
    (folder / "seen").mkdir()
    (folder / "seen" / "status").write_bytes(keyfs.read(".keyfs/status"))
    (folder / "seen" / "metrics").write_bytes(keyfs.read(".keyfs/metrics"))
    (folder / "seen" / "items").write_text(str(cloud.items(aws, table)))
    memory.gcore(keyfs.pid, folder / "seen")
    trees = [keyfs.state_dir, folder / "seen"]
    files = [keyfs.log_file, keyfs.audit_file]
    found = [hit for tree in trees for hit in memory.scan_tree(tree, needles)] + [hit for file in files for hit in memory.scan_file(file, needles)]
    assert [str(hit) for hit in found] == []
    assert memory.scan_tree(folder / "seen", {"the table's name": table.encode()}), "the search reads these files"
    assert os.path.getsize(keyfs.log_file) > 0

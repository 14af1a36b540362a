"""The calls that signing keys in KMS take are what the IAM policies in scripts/terraform permit: those of hosts that sign, and those of who makes keys."""
import os
import re

import pytest

import cloud
import signing
from signing import ONE, TWO
from support import cli
from support.kms_double import KmsDouble
from support.process import ROOT_DIR, eventually


def permitted(document):
    """KMS's actions in a policy document."""
    with open(os.path.join(ROOT_DIR, "scripts", "terraform", "signing.tf")) as f:
        text = f.read()
    block = text.split(f'data "aws_iam_policy_document" "{document}" {{', 1)[1].split("\n}\n", 1)[0]
    return set(re.findall(r'"kms:([A-Z][A-Za-z]+)"', block)) - {"ResourceAliases"}


@pytest.fixture
def kms():
    with KmsDouble([ONE, TWO]) as double:
        yield double


def asked(kms):
    found = {call.operation for call in kms.log()}
    kms.forget_log()
    return found


def test_hosts_sign_and_administrators_make_keys_by_what_the_policies_permit(make_daemon, folder, kms):
    keyfs = make_daemon(signing.sections(folder, kms, grace="0s", key_tags="keyfs-signing=default"), env=cloud.CREDENTIALS)
    host, admin = permitted("signing_host"), permitted("signing_admin")
    assert host and admin and not host & admin

    signing.create(keyfs, "ca")
    signing.told(keyfs, "rotate", "ca")
    signing.told(keyfs, "disable", "ca")
    signing.told(keyfs, "enable", "ca")
    made = asked(kms)

    keyfs.start()
    eventually(lambda: os.listdir(signing.path(keyfs, "")) == ["ca"], 20, "the key is known")
    signing.sign(keyfs, "ca", b"data")
    assert keyfs.cli("check").returncode in (cli.DONE, cli.PARTIAL)
    signing.told(keyfs, "describe", "ca")
    signed = asked(kms)
    assert signed <= host and host - signed <= {"DescribeKey"}, signed

    signing.told(keyfs, "delete", "ca", "--yes")
    made |= asked(kms)
    # A tag is put on a key as it is made, which takes an action of its own.
    assert made - host == admin - {"TagResource"}, made

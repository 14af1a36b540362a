"""keyfs sign: its output, exit codes and permissions, on keys that are wrapped in local regions."""
import json
import re
import subprocess

import pytest

from support.cli import DONE, FAILED, PARTIAL, USAGE, error_of, run
from support.daemon import local_sections, write_config

TYPES = {"EC_P256": 1, "EC_P384": 1, "RSA_2048": 6, "RSA_4096": 6}  # and how many algorithms each has
ME = {"use": "uid:0", "create": "uid:0", "admin": "uid:0"}


@pytest.fixture
def configure(folder):
    """configure(sign={glob: {...}}, **signing) -> the path of a configuration on SQLite and three local regions."""

    def write(sign=None, **signing):
        sections = local_sections(folder / "parts")
        sections["keyfs"] = {"state_dir": folder / "state", "audit": "off"}
        sections["admin"] = {"read": "uid:1"}
        sections.update({f"sign {glob}": entries for glob, entries in (sign if sign is not None else {"*": ME}).items()})
        if signing:
            sections["signing"] = signing
        return write_config(str(folder / "keyfs.ini"), sections)

    return write


@pytest.fixture
def sign(configure):
    """sign("create", "ca", ...) -> the command's end."""
    config = configure()
    return lambda verb, *args: run("sign", verb, "-c", config, *args)


def answer(done, code=DONE):
    assert done.returncode == code, done
    return json.loads(done.stdout)["keys"]


def fingerprint_of(pem):
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem.encode(), capture_output=True, check=True).stdout
    return subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True).stdout.split()[0].decode()


@pytest.mark.parametrize("kind", TYPES)
def test_a_key_is_made_and_described_with_its_public_half(sign, kind):
    [made] = answer(sign("create", "ca", "--type", kind, "--json"))
    assert (made["id"], made["type"], made["custody"], made["state"]) == ("ca", kind, "wrapped", "enabled")
    [key] = answer(sign("describe", "ca", "--json"))
    assert fingerprint_of(key["public_key"]) == key["fingerprint"] == made["fingerprint"]
    assert (key["type"], key["key"], len(key["algorithms"])) == (kind, made["key"], TYPES[kind])
    assert key["may"] == {"use": True, "see": True, "create": True, "admin": True}
    assert (key["section"], key["problem"]) == ("[sign *]", None)


def test_what_people_read_has_the_same_in_it(sign):
    line = sign("create", "ca", "tls", "--type", "EC_P256")
    assert line.returncode == DONE and re.fullmatch(r"ca: created, EC_P256, custody wrapped, fingerprint [0-9a-f]{64}\ntls: created, .*\n", line.stdout), line
    listed = sign("list").stdout.splitlines()
    assert listed[0].split() == ["ID", "TYPE", "CUSTODY", "STATE", "FINGERPRINT"] and [row.split()[:4] for row in listed[1:]] == [
        ["ca", "EC_P256", "wrapped", "enabled"], ["tls", "EC_P256", "wrapped", "enabled"]]
    told = sign("describe", "ca").stdout
    assert "algorithms   ECDSA_SHA_256\n" in told and re.search(r"policy       \[sign \*\] \(.*keyfs.ini:\d+\): .*may sign with it", told), told


def test_an_id_is_given_once(sign):
    [first] = answer(sign("create", "ca", "--type", "EC_P256", "--json"))
    done = sign("create", "ca", "--type", "EC_P384", "--json")
    [again] = answer(done, FAILED)
    assert again["id"] == "ca" and "ca" in again["reason"]
    assert [key["fingerprint"] for key in answer(sign("list", "--json"))] == [first["fingerprint"]]


def test_a_rotation_gives_both_fingerprints_and_says_when_the_old_key_goes(sign):
    [old] = answer(sign("create", "ca", "--type", "EC_P256", "--json"))
    done = sign("rotate", "ca", "--json")
    [new] = answer(done)
    assert new["before"] == old["fingerprint"] != new["fingerprint"] and new["type"] == "EC_P256"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", new["old_signs_until"])
    assert json.loads(done.stdout)["queued_deletions"] == 1 and json.loads(done.stdout)["unfinished"] == 0
    [now] = answer(sign("list", "--json"))
    assert now["fingerprint"] == new["fingerprint"]
    told = sign("rotate", "ca", "--type", "RSA_2048")
    assert f"the old key {new['fingerprint']} is deleted after 2" in told.stdout and "2 old keys wait for the end of grace" in told.stdout
    assert answer(sign("list", "--json"))[0]["type"] == "RSA_2048"


def test_without_grace_the_command_itself_deletes_the_old_key(configure):
    config = configure(grace="0s")
    answer(run("sign", "create", "-c", config, "ca", "--type", "EC_P256", "--json"))
    done = run("sign", "rotate", "-c", config, "ca", "--json")
    assert json.loads(done.stdout)["queued_deletions"] == 0, done


def test_a_disabled_key_is_one_until_it_is_enabled(sign):
    answer(sign("create", "ca", "--type", "EC_P256", "--json"))
    assert answer(sign("disable", "ca", "--json"))[0]["state"] == "disabled"
    assert [(key["state"], key["type"]) for key in answer(sign("list", "--json"))] == [("disabled", "EC_P256")]
    assert answer(sign("enable", "ca", "--json"))[0]["state"] == "enabled"
    assert [key["state"] for key in answer(sign("list", "--json"))] == ["enabled"]


def test_delete_asks_for_yes_and_then_nothing_is_left(sign):
    answer(sign("create", "ca", "--type", "EC_P256", "--json"))
    assert "keyfs sign disable" in error_of(sign("delete", "ca"), USAGE)
    assert len(answer(sign("list", "--json"))) == 1
    assert answer(sign("delete", "ca", "--yes", "--json"))[0]["state"] == "deleted"
    assert answer(sign("list", "--json")) == []
    [gone] = answer(sign("delete", "ca", "--yes", "--json"), FAILED)
    assert gone["error"] == "absent"


@pytest.mark.parametrize("verb", ["describe", "rotate", "disable", "enable"])
def test_a_key_that_is_not_there_is_named_and_others_are_done(sign, verb):
    answer(sign("create", "ca", "--type", "EC_P256", "--json"))
    done = sign(verb, "ca", "nothing", "--json")
    good, bad = answer(done, PARTIAL)
    assert good["id"] == "ca" and "error" not in good
    assert (bad["id"], bad["error"]) == ("nothing", "absent") and "there is no signing key nothing" in done.stderr


@pytest.mark.parametrize("args", [("create", "ca", "--type", "ED25519"), ("create", "ca"), ("create", ".ca", "--type", "EC_P256"), ("describe",),
                                  ("create", "a/b", "--type", "EC_P256")], ids=" ".join)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(sign, folder, args):
    error_of(sign(*args), USAGE)
    assert not (folder / "state" / "signing").exists()


def test_custody_kms_is_refused_where_no_region_is_configured(sign):
    done = sign("create", "ca", "--type", "EC_P256", "--custody", "kms")
    assert done.returncode == FAILED and "kms" in done.stderr, done


def test_each_command_needs_its_entry_of_the_policy(configure):
    answer(run("sign", "create", "-c", configure(), "ca", "--type", "EC_P256", "--json"))

    def refused(entries, *args):
        done = run("sign", args[0], "-c", configure({"*": entries}), *args[1:], "--json")
        [key] = answer(done, FAILED)
        assert (key["error"], "[sign *] (" in key["reason"]) == ("denied", True), key
        return key["reason"]

    # A right to use it is none to administer it, and root has none of its own.
    for args in (("rotate", "ca"), ("disable", "ca"), ("enable", "ca"), ("delete", "ca", "--yes")):
        assert refused({"use": "uid:0", "see": "any", "create": "uid:0", "admin": "uid:1"}, *args).endswith("does not name them in admin")
    assert refused({"use": "uid:0"}, "create", "new", "--type", "EC_P256").endswith("does not name them in create or admin")
    assert refused({"use": "uid:1"}, "describe", "ca").endswith("does not name them in use, see or admin")
    assert answer(run("sign", "list", "-c", configure({"*": {"use": "uid:1"}}), "--json")) == []
    # And a right to data keys is none either.
    done = run("sign", "describe", "-c", configure({}), "ca")
    assert "no [sign ...] section matches it" in error_of(done, FAILED)


def test_an_embedded_mount_needs_no_configuration(folder):
    done = run("sign", "create", "--embedded", folder / "home", "ca", "--type", "EC_P256", "--json")
    [made] = answer(done)
    assert made["custody"] == "wrapped"
    assert [key["id"] for key in answer(run("sign", "list", "--embedded", folder / "home", "--json"))] == ["ca"]
    # Signing keys are no data keys.
    assert answer(run("list", "--embedded", folder / "home", "--json")) == []


def test_check_and_explain_tell_of_signing_keys(configure):
    config = configure({"ca-*": {"use": "uid:0", "algorithms": "ECDSA_SHA_256", "rate": "10/s"}})
    run("create", "-c", config, "orders")  # so that there is a store
    answer(run("sign", "list", "-c", config, "--json"))
    parts = json.loads(run("check", "-c", config, "--json").stdout)["parts"]
    assert [part["ok"] for part in parts if part["part"].startswith("signing keys")] == [True, True]
    found = json.loads(run("explain", "-c", config, "--json", "ca-1").stdout)["sign"]
    assert (found["use"], found["admin"], found["algorithms"], found["rate"], found["section"]) == (True, False, "ECDSA_SHA_256", "10/s", "[sign ca-*]")
    assert json.loads(run("explain", "-c", config, "--json", "orders").stdout)["sign"] is None
    text = run("explain", "-c", config).stdout
    assert "\n[signing]\ncustody = wrapped\nname = default\n" in text and "grace = 1h\n" in text

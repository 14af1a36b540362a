"""The commands on keys: their output, exit codes and permissions."""
import errno
import json
import os
import re
import subprocess

import pytest

from support.cli import DONE, FAILED, PARTIAL, USAGE, error_of, run
from support.daemon import binary, local_sections, master_file, mounted, write_config
from support.process import eventually

REGIONS = ["local-a", "local-b", "local-c"]


@pytest.fixture
def configure(folder):
    """configure(policy={glob: {...}}) -> the path of a configuration on SQLite and three local regions."""

    def write(policy=None):
        sections = local_sections(folder / "parts", policy=policy)
        sections["keyfs"] = {"state_dir": folder / "state", "audit": "off"}
        sections["admin"] = {"read": "uid:0"}
        return write_config(str(folder / "keyfs.ini"), sections)

    return write


@pytest.fixture
def config(configure):
    return configure()


# A mistake, and how the message goes on after the file's name.
MISTAKES = [
    ("[store]\ntyp = sqlite\n", r":2: \[store\] typ: unknown key \(did you mean type\?\)"),
    ("[store]\ntype = sqlite\npath = keys.db\n", r":3: \[store\] path: .*absolute"),
    ("[store]\ntype = paper\n", r":2: \[store\] type: .*paper"),
    ("[stor]\ntype = sqlite\n", r":1: .*stor"),
    ("nonsense\n", r":1: "),
    ("[keyfs]\nfresh_for = soon\n", r":2: \[keyfs\] fresh_for: "),
    ("[keyfs]\ncreate_min_regions = 4\n", r":2: \[keyfs\] create_min_regions: "),
    ("[rotation]\nstop_after = 20\n", r":2: \[rotation\] stop_after: "),
    ("[keys a*]\nrotate_every = often\n", r":2: \[keys a\*\] rotate_every: "),
    ("[region a]\ntype = local\n", r":1: \[region a\] key_file: is missing"),
    ("[region a]\ntype = local\nkey_file = /x\n[keys *]\nread = user:nobody-of-that-name\n", r":5: \[keys \*\] read: .*nobody-of-that-name"),
    ("[keys *]\ncreate = uid:0\n", r":\d: \[keys \*\] create: "),
    ("[keys a*]\nread = uid:0\nread = uid:1\n", r":3: \[keys a\*\] read is in line 2 already"),
]


@pytest.mark.parametrize("command", ["mount", "check", "list", "explain"])
@pytest.mark.parametrize("text, wrong", MISTAKES, ids=[m[0].replace("\n", "|") for m in MISTAKES])
def test_a_mistake_in_the_configuration_is_one_line_with_its_place(folder, text, wrong, command):
    path, place = folder / "bad.ini", folder / "keys"
    place.mkdir()
    for section, rest in (("[store]", f"type = sqlite\npath = {folder}/keys.db\n"), ("[region r]", f"type = local\nkey_file = {folder}/r.key\n"),
                          ("[keyfs]", f"state_dir = {folder}/state\naudit = off\n")):
        if section.split()[0].rstrip("]") not in text and not (section == "[store]" and "[stor]" in text):
            text += f"{section}\n{rest}"
    path.write_text(text)
    found = error_of(run(command, "-c", path, *([place] if command == "mount" else [])), USAGE)
    assert re.match(rf"keyfs: {re.escape(str(path))}{wrong}", found), found
    assert mounted(place) is None
    assert not (folder / "keys.db").exists()


def test_a_configuration_that_is_not_there_is_named(folder):
    assert str(folder / "none.ini") in error_of(run("check", "-c", folder / "none.ini"), USAGE)


def test_a_key_is_created_listed_described_disabled_enabled_and_deleted(config):
    c = ("-c", config)
    assert run("create", *c, "orders", "orders", "users").stdout.splitlines() == [
        "orders: created, version 1, wrapped in local-a, local-b, local-c",
        "orders: already exists, version 1, wrapped in local-a, local-b, local-c",
        "users: created, version 1, wrapped in local-a, local-b, local-c"]
    listed = json.loads(run("list", *c, "--json").stdout)["keys"]
    assert [(k["id"], k["state"], k["version"], k["bytes"], k["missing"]) for k in listed] == [
        ("orders", "enabled", 1, 32, []), ("users", "enabled", 1, 32, [])]
    assert [k["id"] for k in json.loads(run("list", *c, "--json", "u*").stdout)["keys"]] == ["users"]
    assert run("list", *c).stdout.splitlines()[0].split() == ["ID", "STATE", "VERSION", "BYTES", "REGIONS"]
    described = json.loads(run("describe", *c, "--json", "orders").stdout)["keys"][0]
    assert described["versions"][0]["check"] and not described["degraded"]
    assert sorted(w["region"] for w in described["versions"][0]["wrapped"]) == REGIONS
    assert run("disable", *c, "orders").stdout == "orders: disabled\n"
    assert run("disable", *c, "orders").stdout == "orders: is disabled already\n"
    assert run("enable", *c, "orders").stdout == "orders: enabled\n"
    kept = error_of(run("delete", *c, "orders", "users"), USAGE)
    assert "permanently removes every wrapped copy of orders, users" in kept and "--yes" in kept and "keyfs disable" in kept, kept
    assert {k["state"] for k in json.loads(run("list", *c, "--json").stdout)["keys"]} == {"enabled"}
    assert run("delete", *c, "--yes", "orders").stdout == "orders: deleted\n"
    assert run("delete", *c, "--yes", "orders").stdout == "orders: is deleted already\n"
    described = json.loads(run("describe", *c, "--json", "orders").stdout)["keys"][0]
    assert described["versions"][0]["wrapped"] == [] and not described["degraded"]
    text = run("describe", *c, "orders")
    assert text.returncode == DONE and "wrapped nowhere: it was deleted" in text.stdout and "keyfs heal" not in text.stdout, text.stdout
    for command, verb in (("enable", "enable"), ("create", "create")):
        assert f"could not {verb} key orders: it was deleted, which is permanent" in error_of(run(command, *c, "orders"), FAILED)


def test_a_disabled_key_is_served_no_more_and_an_enabled_one_again_with_the_same_bytes(make_daemon):
    daemon = make_daemon(fresh_for="0s").start()
    key = daemon.read("orders")
    assert daemon.cli("disable", "orders").returncode == DONE

    def refused():
        try:
            assert daemon.read("orders") == key
            return False
        except OSError as e:
            assert e.errno == errno.EKEYREVOKED, e
            return True

    eventually(refused, what="the end of the check")
    assert daemon.cli("enable", "orders").returncode == DONE

    def again():
        try:
            return daemon.read("orders") == key
        except OSError:
            return False

    eventually(again)


def test_some_done_and_some_failed_is_exit_code_3(config):
    run("create", "-c", config, "orders")
    done = run("describe", "-c", config, "--json", "orders", "nobody-made-this")
    assert done.returncode == PARTIAL
    good, bad = json.loads(done.stdout)["keys"]
    assert good["id"] == "orders" and bad["id"] == "nobody-made-this" and "nobody-made-this" in bad["reason"]
    assert bad["error"] == "absent", "the word of the audit"
    assert error_of(run("heal", "-c", config, "nobody-made-this"), FAILED).count("nobody-made-this") == 1
    assert "nobody-made-this" in done.stderr
    assert "nobody-made-this" in error_of(run("disable", "-c", config, "nobody-made-this"), FAILED)


@pytest.mark.parametrize("args", [("create",), ("describe",), ("disable",), ("enable",), ("delete", "--yes"), ("heal",), ("explain",)], ids=lambda args: args[0])
def test_an_invalid_id_is_a_mistake_in_the_command_line_and_nothing_is_tried(config, args):
    for bad in ("no/id", "x" * 256):
        assert f'"{bad}" is not a valid key id' in error_of(run(*args, "-c", config, bad), USAGE)
    if args == ("create",):
        error_of(run(*args, "-c", config, "orders", "no/id"), USAGE)
        assert "orders" not in run("list", "-c", config).stdout


def test_a_user_without_a_key_to_explain_is_told_to_name_one(config):
    assert "keyfs explain ID --user NAME" in error_of(run("explain", "-c", config, "--user", "root"), USAGE)


def test_embedded_names_the_section_and_no_line_of_a_file_that_is_not_there(folder, make_daemon):
    daemon = make_daemon(embedded=folder / "state").start()
    daemon.read("orders")
    told = daemon.cli("explain", "orders").stdout
    assert "[keys *] decides (set by --embedded)" in told and "line" not in told, told
    told = json.loads(daemon.cli("explain", "--json", "orders").stdout)
    assert (told["section"], told["line"]) == ("[keys *]", None)

    def audited():
        with open(folder / "state" / "audit.jsonl") as f:
            return [json.loads(line) for line in f if '"id":"orders"' in line]

    opened = eventually(audited, what="the line of the open")[0]
    assert (opened["section"], opened["line"]) == ("[keys *]", None)


def test_no_key_material_is_ever_printed(folder, make_daemon):
    daemon = make_daemon(embedded=folder / "state").start()
    key = daemon.read("orders")
    for args in (["describe", "orders"], ["list"], ["create", "orders"], ["check"], ["explain"], ["explain", "orders"], ["heal"]):
        for json_or_not in ([], ["--json"]):
            done = daemon.cli(*args, *json_or_not)
            assert done.returncode == DONE, done
            assert key.hex() not in (done.stdout + done.stderr).lower()


def test_root_has_no_privilege_that_the_policy_does_not_give(configure):
    config = configure({"app-*": {"read": "uid:4711", "create": "uid:4711"}, "*": {"read": "uid:0", "admin": "uid:0"}})
    for verb in ("create", "disable", "enable", "delete", "heal"):
        sure = ["--yes"] if verb == "delete" else []
        line = error_of(run(verb, "-c", config, *sure, "app-1"), FAILED)
        assert line.startswith(f"keyfs: root (uid 0) may not {verb} app-1: [keys app-*] ({config}:"), line
    assert run("create", "-c", config, "other").returncode == DONE
    assert json.loads(run("list", "-c", config, "--json").stdout)["keys"][0]["id"] == "other"


def test_a_list_tells_what_lacks_a_region(configure, folder):
    """A region that was added since; but not one whose master is another's, as with a multi-Region key: the healer has nothing to do there."""
    config = configure()
    assert run("create", "-c", config, "orders", "gone").returncode == DONE
    assert run("delete", "-c", config, "--yes", "gone").returncode == DONE
    parts = folder / "parts"
    with open(config, "a") as f:
        f.write(f"[region local-d]\ntype = local\nkey_file = {parts}/local-d.key\n")
    (parts / "local-d.key").write_bytes((parts / "local-a.key").read_bytes())
    (parts / "local-d.key").chmod(0o600)
    done = run("list", "-c", config, "--json")
    assert done.returncode == DONE and all(key["missing"] == [] for key in json.loads(done.stdout)["keys"])
    assert "degraded" not in run("list", "-c", config).stdout
    assert run("describe", "-c", config, "orders").returncode == DONE

    os.unlink(parts / "local-d.key")
    master_file(parts / "local-d.key")
    done = run("list", "-c", config, "--json")
    assert done.returncode == PARTIAL
    assert {key["id"]: key["missing"] for key in json.loads(done.stdout)["keys"]} == {"orders": ["local-d"], "gone": []}
    text = run("list", "-c", config)
    assert text.returncode == PARTIAL and "degraded: not in local-d" in text.stdout
    assert run("describe", "-c", config, "gone").returncode == DONE, "a deleted key needs no more copies"
    assert run("heal", "-c", config).returncode == DONE
    assert run("list", "-c", config).returncode == DONE


def test_check_tells_of_a_policy_that_lets_nobody_in(configure):
    config = configure()
    with open(config) as f:
        text = f.read()
    with open(config, "w") as f:
        f.write(text.replace("[keys *]", "[admin-was-here]").split("[admin-was-here]")[0] + "[admin]\nread = uid:0\n")
    done = run("check", "-c", config)
    assert done.returncode == PARTIAL and "FAIL  [keys ...] sections" in done.stdout


def test_there_is_no_run_of_rotation_before_the_first(config):
    assert run("create", "-c", config, "orders").returncode == DONE
    listed = run("rotation", "list", "-c", config)
    assert (listed.returncode, listed.stdout) == (DONE, "no runs\n"), listed
    assert json.loads(run("rotation", "list", "-c", config, "--json").stdout) == {"runs": [], "damaged": []}
    assert "there was no run yet" in error_of(run("rotation", "show", "-c", config), FAILED)
    for command in (["retry"], ["stop"], ["done", "--host", "web-1"]):
        assert "there is no run run-00000001" in error_of(run("rotation", *command, "-c", config, "run-00000001"), FAILED)
    assert "keyfs rotation retry --help" in error_of(run("rotation", "retry", "-c", config), USAGE)


def test_check_looks_at_the_webhook_and_does_not_tell_its_url(configure, folder):
    config, webhook = configure({"*": {"read": "uid:0"}}), folder / "webhook"
    with open(config, "a") as f:
        f.write(f"[rotation]\nwebhook_file = {webhook}\n")
    webhook.write_text("https://hooks.example/services/secret-token\n")
    webhook.chmod(0o644)
    done = run("check", "-c", config)
    assert done.returncode == PARTIAL and "FAIL  webhook" in done.stdout and "chmod 600" in done.stdout, done
    webhook.chmod(0o600)
    good = run("check", "-c", config)
    assert good.returncode == DONE and "hooks.example" in good.stdout, good
    assert "secret-token" not in done.stdout + done.stderr + good.stdout + good.stderr


def test_explain_names_the_section_and_the_line(configure, people):
    config = configure({"pay-*": {"read": "group:keyfs-tg, user:keyfs-t1", "create": "user:keyfs-t1"}, "*": {"read": "uid:0"}})
    with open(config) as f:
        lines = f.read().splitlines()
    answer = json.loads(run("explain", "-c", config, "--json", "pay-eu", "--user", "keyfs-t2").stdout)
    assert (answer["read"], answer["create"], answer["section"]) == (True, False, "[keys pay-*]")
    assert lines[answer["line"] - 1] == "[keys pay-*]"
    assert lines[answer["lines"]["read"] - 1].startswith("read = group:keyfs-tg")
    text = run("explain", "-c", config, "pay-eu", "--user", "keyfs-t3").stdout
    assert "[keys pay-*]" in text and "read: no" in text, text
    assert "there is no user" in error_of(run("explain", "-c", config, "pay-eu", "--user", "nobody-here"), USAGE)


def test_explain_says_which_names_opening_does_not_make(configure):
    config = configure({"*": {"read": "uid:0", "create": "uid:0"}})
    assert "create: no, a name that tools probe" in run("explain", "-c", config, "Makefile").stdout
    assert "create: yes" in run("explain", "-c", config, "orders").stdout
    answer = json.loads(run("explain", "-c", config, "--json", "libc.so.6").stdout)
    assert (answer["create"], answer["never_create"]) == (False, True)


def test_explain_without_a_key_prints_the_configuration_in_force(config, folder):
    text = run("explain", "-c", config).stdout
    assert text.startswith(f"[keyfs]\nstate_dir = {folder}/state\n") and "\nfresh_for = 5m\n" in text
    (folder / "again.ini").write_text(text)
    assert run("explain", "-c", folder / "again.ini").stdout == text


def test_check_tells_what_is_wrong_with_a_region_and_heal_fills_in(config, folder):
    good = run("check", "-c", config, "--json")
    assert (good.returncode, json.loads(good.stdout)["state"]) == (DONE, "good"), good
    os.rename(folder / "parts" / "local-b.key", folder / "away.key")
    degraded = run("check", "-c", config)
    assert degraded.returncode == PARTIAL
    assert "FAIL" in degraded.stdout and "region local-b" in degraded.stdout and "->" in degraded.stdout, degraded.stdout
    made = run("create", "-c", config, "orders")
    assert made.returncode == PARTIAL and "missing: local-b" in made.stdout, made
    assert run("describe", "-c", config, "orders").returncode == PARTIAL
    assert run("heal", "-c", config).returncode == PARTIAL
    os.rename(folder / "away.key", folder / "parts" / "local-b.key")
    healed = run("heal", "-c", config)
    assert (healed.returncode, healed.stdout) == (DONE, "1 examined, 0 whole, 1 healed, 0 still lack a region, 0 failed\n")
    assert run("describe", "-c", config, "orders").returncode == DONE
    for name in REGIONS:
        os.remove(folder / "parts" / f"{name}.key")
    assert run("check", "-c", config).returncode == FAILED


def test_status_of_a_mount_and_of_none(make_daemon, folder):
    assert f"{folder}: no keyfs is mounted there" in error_of(run("status", folder), FAILED)
    daemon = make_daemon(embedded=folder / "state").start()
    done = run("status", "--json", daemon.mount)
    assert done.returncode == DONE, done
    assert json.loads(done.stdout)["mounts"][0]["mountpoint"] == daemon.mount
    assert daemon.mount in run("status").stdout.splitlines()


def test_status_of_a_file_tells_the_mount_point_that_it_is_in(make_daemon, folder):
    (folder / "file").write_text("")
    assert error_of(run("status", folder / "file"), FAILED) == f"keyfs: {folder}/file: is not the mount point of a keyfs"
    daemon = make_daemon(embedded=folder / "state").start()
    daemon.read("orders")
    assert error_of(run("status", daemon.path("orders")), FAILED).endswith(
        f"orders: is not the mount point of a keyfs, but a file in one: ask for the status of {daemon.mount}")


def test_json_takes_paths_and_ids_that_are_no_utf8(config, folder):
    bad = os.fsdecode(b"caf\xe9")
    place = os.path.join(str(folder), bad)
    os.mkdir(place)
    strange = os.path.join(place, "keyfs.ini")
    os.link(config, strange)
    for command in ("check", "list", "explain"):
        done = run(command, "-c", strange, "--json", errors="surrogateescape")
        assert done.returncode == DONE, done
        json.loads(done.stdout.encode("utf-8"))
    for command in ("describe", "create", "disable"):
        done = run(command, bad, "-c", config, "--json", errors="surrogateescape")
        assert done.returncode == USAGE and not done.stdout and "is not a valid key id" in done.stderr, done
    done = run("status", "--json", place, errors="surrogateescape")
    assert done.returncode == FAILED and json.loads(done.stdout) == {"mounts": []}, done


@pytest.mark.parametrize("json_too", [False, True], ids=["text", "json"])
def test_status_survives_what_another_file_system_calls_a_status(folder, json_too):
    place = folder / "others"
    (place / ".keyfs").mkdir(parents=True)
    depth = 200_000
    for text, why in (("{\"a\":" * depth + "1" + "}" * depth, "is nested deeper than 32 levels"), ("{\"a\":[" + "[]," * 1_000_000 + "[]]}", "has too many values"),
                      ("x" * 5_000_000, "has more than 4194304 bytes"), ("[]", "is not a JSON object"), ("{\"a\":\"\xff\"}", "is not JSON")):
        (place / ".keyfs" / "status").write_text(text, encoding="latin-1")
        done = run("status", place, *(["--json"] if json_too else []))
        assert done.returncode == FAILED and why in done.stderr and len(done.stderr) < 500, done


@pytest.mark.parametrize("args", [("list",), ("describe", "orders"), ("disable", "orders"), ("heal",)], ids=lambda args: args[0])
def test_a_command_that_makes_no_key_makes_no_database(config, folder, args):
    database = re.search(r"path = (\S+)", open(config).read())[1]
    assert not os.path.exists(database)
    done = run(*args, "-c", config)
    assert done.returncode == FAILED, done
    assert f"there is no database at {database}" in done.stderr
    assert not os.path.exists(database)


def test_usage_is_exit_code_2_and_help_is_0():
    for args in ([], ["mont"], ["mount"], ["describe"], ["list", "--nope"]):
        error_of(run(*args), USAGE)
    for args in (["--help"], ["mount", "--help"], ["--version"], ["version"]):
        done = run(*args)
        assert done.returncode == DONE and done.stdout and not done.stderr


def test_a_deleted_key_is_not_created_and_that_is_a_failure(config):
    assert run("create", "-c", config, "orders").returncode == DONE
    assert run("delete", "-c", config, "--yes", "orders").returncode == DONE
    assert "was deleted" in error_of(run("create", "-c", config, "orders"), FAILED)
    done = run("create", "-c", config, "--json", "orders", "new")
    assert done.returncode == PARTIAL
    assert "was deleted" in json.loads(done.stdout)["keys"][0]["reason"]


def test_to_create_a_key_that_is_there_and_lacks_a_region_is_exit_code_3(config, folder):
    assert run("create", "-c", config, "orders").returncode == DONE
    with open(config, "a") as f:
        f.write(f"[region local-d]\ntype = local\nkey_file = {master_file(folder / 'parts' / 'local-d.key')}\n")
    done = run("create", "-c", config, "--json", "orders")
    assert done.returncode == PARTIAL
    assert [m["region"] for m in json.loads(done.stdout)["keys"][0]["missing"]] == ["local-d"]
    assert run("heal", "-c", config, "orders").returncode == DONE
    assert run("create", "-c", config, "orders").returncode == DONE


def test_an_answer_that_is_lost_is_a_failure_with_standard_output_closed_too(config):
    assert run("create", "-c", config, "orders").returncode == DONE
    for where in (">&-", ">/dev/full"):
        done = subprocess.run(["bash", "-c", f'"$@" {where}', "bash", binary(), "list", "-c", config, "--json"], capture_output=True, text=True, timeout=60)
        assert done.returncode != DONE and "standard output" in done.stderr, (where, done)


def test_status_without_any_mount_has_its_document_too(folder):
    script = 'umount -a -l -t fuse.keyfs 2>/dev/null; exec "$@"'
    none = subprocess.run(["unshare", "--mount", "bash", "-c", script, "bash", binary(), "status", "--json"], capture_output=True, text=True, timeout=60)
    assert none.returncode == FAILED and json.loads(none.stdout) == {"mounts": []}, none
    absent = run("status", "--json", folder / "nowhere")
    assert absent.returncode == FAILED and json.loads(absent.stdout) == {"mounts": []}

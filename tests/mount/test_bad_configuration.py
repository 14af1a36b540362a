"""Every kind of mistake in the configuration: one line with file, line and what is wrong, exit code 2, and nothing left behind."""
import os
import re
import shutil
import subprocess

import pytest

from support import daemon as d

# {what: (text to look for, what takes its place, what the message must hold)}. The text's last line, where the change is, is the line to be told; an entry
# with a fourth value names the line's text itself.
MISTAKES = {
    "unknown section": ("[admin]", "[admim]", "admim"),
    "unknown key": ("type = sqlite", "type = sqlite\ntyp = sqlite", "typ"),
    "key of another section": ("key_bytes = 32", "key_bytes = 32\npath = /x", "path"),
    "text outside a section": ("[keyfs]", "stray = 1\n[keyfs]", ""),
    "no key and no section": ("key_bytes = 32", "key_bytes = 32\nlorem ipsum", ""),
    "section not closed": ("[admin]", "[admin", ""),
    "section twice": ("[admin]\nread = uid:0", "[admin]\nread = uid:0\n[admin]\nread = uid:0", "admin"),
    "key twice": ("key_bytes = 32", "key_bytes = 32\nkey_bytes = 64", "key_bytes"),
    "no value": ("key_bytes = 32", "key_bytes =", "key_bytes"),
    "no number": ("key_bytes = 32", "key_bytes = many", "key_bytes"),
    "number with a tail": ("key_bytes = 32", "key_bytes = 32x", "key_bytes"),
    "number too small": ("key_bytes = 32", "key_bytes = 1", "key_bytes"),
    "number too large": ("key_bytes = 32", "key_bytes = 100000", "key_bytes"),
    "no duration": ("fresh_for = 5m", "fresh_for = soon", "fresh_for"),
    "duration without a unit": ("fresh_for = 5m", "fresh_for = 5", "fresh_for"),
    "negative duration": ("fresh_for = 5m", "fresh_for = -5m", "fresh_for"),
    "stale before it is old": ("fresh_for = 5m", "fresh_for = 5m\nserve_stale_for = 1m", "serve_stale_for"),
    "no boolean": ("audit_group_readable = no", "audit_group_readable = maybe", "audit_group_readable"),
    "no level": ("log_level = info", "log_level = loud", "log_level"),
    "relative state_dir": ("state_dir = {folder}/state", "state_dir = state", "state_dir"),
    "relative audit": ("audit = {folder}/audit.jsonl", "audit = audit.jsonl", "audit"),
    "unknown store": ("type = sqlite", "type = mysql", "mysql"),
    "store without a type": ("type = sqlite\n", "", "type"),
    "store without a path": ("\npath = {folder}/keys.db", "", "path"),
    "relative path of the store": ("path = {folder}/keys.db", "path = keys.db", "path"),
    "no store": ("[store]\ntype = sqlite\npath = {folder}/keys.db\n", "", "store"),
    "unknown type of region": ("[region a]\ntype = local", "[region a]\ntype = lokal", "lokal"),
    "region without a name": ("[region a]", "[region]", "region"),
    "region without a key_file": ("\nkey_file = {folder}/a.key", "", "key_file"),
    "relative key_file": ("key_file = {folder}/a.key", "key_file = a.key", "key_file"),
    "region twice": ("[region b]", "[region a]", "region a"),
    "more regions wanted than there are": ("key_bytes = 32", "key_bytes = 32\ncreate_min_regions = 3", "create_min_regions"),
    "no region is wanted": ("key_bytes = 32", "key_bytes = 32\ncreate_min_regions = 0", "create_min_regions"),
    "create without read": ("[keys *]\nread = uid:0", "[keys *]", "create"),
    "unknown user": ("[keys *]\nread = uid:0", "[keys *]\nread = user:nobody-of-that-name", "nobody-of-that-name"),
    "unknown group": ("[keys *]\nread = uid:0", "[keys *]\nread = group:none-of-that-name", "none-of-that-name"),
    "no principal": ("[keys *]\nread = uid:0", "[keys *]\nread = root", "root"),
    "uid that is no number": ("[keys *]\nread = uid:0", "[keys *]\nread = uid:root", "uid:root"),
    "uid that can't be": ("[keys *]\nread = uid:0", "[keys *]\nread = uid:4294967295", "4294967295"),
    "keys without a glob": ("[keys *]", "[keys]", "keys"),
    "open bracket": ("[keys *]", "[keys a[b]", ""),
    "glob that can match nothing": ("[keys *]", "[keys a/b]", "match"),
    "unknown key in [keys]": ("[keys *]\nread = uid:0", "[keys *]\nreed = uid:0\nread = uid:0", "reed"),
    "comment without a blank": ("key_bytes = 32", "key_bytes = 32;comment", "key_bytes"),
    "a line too long": ("key_bytes = 32", "key_bytes = 32 ; " + "x" * 300, "long"),
    "NUL": ("key_bytes = 32", "key_bytes = 3\0002", ""),
}

GOOD = """[keyfs]
state_dir = {folder}/state
audit = {folder}/audit.jsonl
audit_group_readable = no
key_bytes = 32
fresh_for = 5m
log_level = info

[store]
type = sqlite
path = {folder}/keys.db

[region a]
type = local
key_file = {folder}/a.key

[region b]
type = local
key_file = {folder}/b.key

[keys *]
read = uid:0
create = uid:0

[admin]
read = uid:0
"""


@pytest.fixture
def place(folder):
    for name in "ab":
        d.master_file(folder / f"{name}.key")
    (folder / "mnt").mkdir()
    return folder


def mount(place, text, config=None):
    """`keyfs mount`, in the background as people do it: the finished command, and what is there now."""
    config = config or place / "keyfs.ini"
    if text is not None:
        config.write_text(text)
    try:
        return subprocess.run([d.binary(), "mount", "-c", config, place / "mnt"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    finally:
        d_mounted = d.mounted(place / "mnt")
        d.unmount(place / "mnt")
        if d_mounted:
            from support.process import eventually

            eventually(lambda: not running(place), what="it ends")


def running(place):
    """keyfs processes that were started with something below place."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                command = f.read().split("\0")
        except OSError:
            continue
        if any(word.startswith(f"{place}/") for word in command[1:]) and os.path.basename(command[0]).startswith("keyfs"):
            found.append(command)
    return found


def everything(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def refused(place, done, code=2):
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert re.fullmatch(r"keyfs: [^\n]+\n", done.stderr), done.stderr
    assert d.mounted(place / "mnt") is None and not running(place)
    return done.stderr


def test_the_configuration_that_is_spoilt_below_is_good(place):
    done = mount(place, GOOD.format(folder=place))
    assert (done.returncode, done.stderr) == (0, "")


def test_each_mistake(place):
    good = GOOD.format(folder=place)
    config = place / "keyfs.ini"
    config.write_text(good)
    before = everything(place)
    assert "state" not in before
    failures = []
    for what, (old, new, told) in MISTAKES.items():
        old, new = old.format(folder=place), new.format(folder=place)
        assert good.count(old) == 1, what
        try:
            message = refused(place, mount(place, good.replace(old, new)))
            if what == "no store":  # there is no line to tell
                assert message == f"keyfs: {config}: has no [store] section\n"
                continue
            found = re.match(rf"keyfs: {re.escape(str(config))}:(\d+): (.*)", message)
            assert found, f"no file and line: {message}"
            line, text = int(found[1]), found[2]
            assert told in text, message
            assert line in lines_of(good, old, new), f"line {line} isn't where the mistake is ({lines_of(good, old, new)}): {message}"
            assert everything(place) == before, f"left behind: {set(everything(place)) - set(before)}"
        except AssertionError as e:
            failures.append(f"{what}: {str(e).splitlines()[0]}")
            shutil.rmtree(place / "state", ignore_errors=True)
    assert not failures, "\n".join(failures)


def lines_of(good, old, new):
    """The lines that may be told: those of the new text, and the head of the section that it is in (for what is missing there), or 1 for a whole section."""
    first = good[:good.index(old)].count("\n") + 1
    lines = good.replace(old, new).split("\n")
    allowed = set(range(first, first + new.count("\n") + 2))
    head = max((n for n, line in enumerate(lines[:first], 1) if line.startswith("[")), default=1)
    return allowed | {head, 1} if not new or new.startswith("[keys *]") else allowed | {head}


@pytest.mark.parametrize("what", ["not there", "a directory", "unreadable", "empty", "binary", "huge"])
def test_no_configuration_at_all(place, what):
    config = place / "keyfs.ini"
    if what == "a directory":
        config.mkdir()
    elif what == "empty":
        config.write_text("")
    elif what == "binary":
        config.write_bytes(os.urandom(4096))
    elif what == "huge":
        config.write_text("; comment\n" * 200000)
    elif what == "unreadable":
        config.symlink_to(config)
    before = everything(place)
    assert str(config) in refused(place, mount(place, None))
    assert everything(place) == before


@pytest.mark.parametrize("arguments", [[], ["mount"], ["mount", "-c"], ["mount", "--nonsense", "mnt"], ["mount", "mnt", "extra"], ["nonsense"],
                                       ["mount", "-c", "keyfs.ini", "--embedded", "parts", "mnt"], ["mount", "-c", "keyfs.ini", "-o", "rw", "mnt"],
                                       ["mount", "-c", "keyfs.ini", "-o", "nonsense", "mnt"], ["mount", "-c", "keyfs.ini", "-o", "exec", "mnt"]], ids=" ".join)
def test_a_command_line_that_is_wrong(place, arguments):
    (place / "keyfs.ini").write_text(GOOD.format(folder=place))
    before = everything(place)
    done = subprocess.run([d.binary(), *arguments], cwd=place, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("keyfs: ") and done.stderr.count("\n") == 1 and done.stdout == ""
    assert d.mounted(place / "mnt") is None
    assert everything(place) == before


@pytest.mark.parametrize("what", ["not there", "a file", "not ours"])
def test_a_mount_point_that_is_unfit(place, what):
    good = GOOD.format(folder=place)
    (place / "keyfs.ini").write_text(good)
    if what != "not ours":
        (place / "mnt").rmdir()
    if what == "a file":
        (place / "mnt").write_text("")
    if what == "not ours":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place / "mnt"], check=True)
    before = everything(place)
    try:
        done = subprocess.run([d.binary(), "mount", "-c", place / "keyfs.ini", place / "mnt"], capture_output=True, text=True, timeout=30)
        assert done.returncode in (1, 2) and re.fullmatch(r"keyfs: [^\n]+\n", done.stderr) and str(place / "mnt") in done.stderr
        assert d.mounted(place / "mnt") == ("tmpfs" if what == "not ours" else None)
    finally:
        d.unmount(place / "mnt")
    assert everything(place) == before and not running(place)


@pytest.mark.parametrize("embedded", ["a file", "others can write to it"])
def test_an_embedded_directory_that_is_unfit(place, embedded):
    parts = place / "parts"
    if embedded == "a file":
        parts.write_text("x")
    else:
        parts.mkdir()
        parts.chmod(0o777)
    before = everything(place)
    done = subprocess.run([d.binary(), "mount", "--embedded", parts, place / "mnt"], capture_output=True, text=True, timeout=30)
    d.unmount(place / "mnt")
    assert done.returncode in (1, 2) and re.fullmatch(r"keyfs: [^\n]+\n", done.stderr) and str(parts) in done.stderr
    assert everything(place) == before and not running(place)

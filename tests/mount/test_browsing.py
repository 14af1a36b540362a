"""Looking around in the mount creates nothing, and calls no region for keys that are not listed."""
import mmap
import os
import pty
import select
import shlex
import signal
import subprocess
import time

import pytest

import seen

KEYS = ["app.key", "orders", "pay-eu", "pay-us"]


@pytest.fixture
def keyfs(launch):
    """With four keys in the store, none of which this daemon has ever unwrapped; whoever asks may create everything."""
    maker = launch()
    made = {ident: maker.read(ident) for ident in KEYS}
    maker.terminate()
    daemon = launch()
    daemon.keys = made
    return daemon


def shell(command, cwd, timeout=60):
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env={**os.environ, "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"})


# Nobody who only looks may cost a call; what opens all it finds may open what is listed.
LOOKS = ["ls", "ls -la", "ls -laR", "find .", "find . -type f -newer orders", "find . -name 'nothing*'", "stat *", "stat orders nothing", "test -e nothing",
         "test -f nothing || test -r nothing || test -s nothing", "[ -e nothing ]", "ls nothing", "ls -la nothing", "echo *", "echo pay-*", "compgen -f pay",
         "compgen -G 'n*'", "du -a .", "df .", "stat -f .", "cd . && pwd -P", "readlink -f nothing", "realpath nothing", "namei -l nothing", "tree .", "getfattr -d .",
         "access() { [ -w nothing ]; }; access", "test -x nothing", "command -v ./nothing", "ls -Z", "git status", "git -C . rev-parse --show-toplevel",
         "git log", "git diff", "make", "make nothing", "python3 -c 'import os; list(os.scandir(\".\")); os.path.exists(\"nothing\")'"]
OPENS = ["grep -r needle .", "grep needle *", "tar -cf /dev/null .", "cp -a . $(mktemp -d)", "cat *", "wc -c *", "file *", "sha256sum *", "tail -c 4 *", "head -c 4 *"]


def await_counts(keyfs):
    return seen.region_calls(keyfs), seen.total(keyfs, "keyfs_created_total")


@pytest.mark.parametrize("commands", [LOOKS, OPENS], ids=["looking", "opening"])
def test_browsing_creates_nothing(keyfs, db, commands):
    before = seen.texts(db)
    calls, made = await_counts(keyfs)
    assert before.keys() == set(KEYS)
    for command in commands:
        shell(command, keyfs.mount)
        assert seen.texts(db) == before, f"{command}: changed the store"
        if commands is LOOKS:
            assert await_counts(keyfs) == (calls, made), f"{command}: called a region"
    opened = {line["id"] for line in keyfs.audit() if line["event"] == "open" and line["verdict"] == "allowed"}
    assert opened == (set() if commands is LOOKS else set(KEYS))
    if commands is OPENS:  # each key was unwrapped, once
        assert seen.total(keyfs, "keyfs_region_calls_total", outcome="ok") <= len(KEYS)
        assert seen.total(keyfs, "keyfs_region_calls_total", call="wrap") == seen.total(keyfs, "keyfs_region_calls_total", call="generate") == 0


@pytest.mark.parametrize("name", ["HEAD", "Makefile", "package.json", "go.mod", "desktop.ini", "yarn.lock", "pom.xml", "tags", "libfoo.so", "libfoo.so.1"])
def test_names_that_programs_try_everywhere_are_not_made_by_opening(launch, db, name):
    """git opens HEAD in any directory, and make its makefiles: only `keyfs create` creates such names."""
    keyfs = launch()
    assert seen.error_name(keyfs.read, name) == "ENOENT"
    assert name not in seen.records(db)
    assert keyfs.cli("create", name).returncode == 0
    assert len(keyfs.read(name)) == 32


def test_the_loader_with_the_mount_as_working_directory_makes_nothing(launch, db):
    """An empty entry in LD_LIBRARY_PATH is the working directory."""
    keyfs = launch()
    done = subprocess.run(["/bin/true"], cwd=keyfs.mount, env={"LD_LIBRARY_PATH": ":"}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert seen.records(db) == {}


def test_completion_in_a_real_shell(keyfs, db):
    """bash at a terminal, TAB pressed: it completes what exists, and creates nothing."""
    before, counts = seen.texts(db), await_counts(keyfs)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {"PATH": os.environ["PATH"], "PS1": "ready$ ", "TERM": "dumb", "HOME": "/nonexistent"})
    try:
        printed = expect(terminal, b"ready$ ")
        for typed, shown in ((f"cat {keyfs.mount}/or\t", b"/orders "), ("\x15" + f"cat {keyfs.mount}/pay-\t\t", b"pay-us"), ("\x15" + f"ls {keyfs.mount}/noth\t\t", None)):
            os.write(terminal, typed.encode())
            printed = expect(terminal, shown) if shown else b""
        os.write(terminal, b"\x15echo the-\"\"end\n")
        printed = expect(terminal, b"the-end")
        assert printed
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    assert seen.texts(db) == before and await_counts(keyfs) == counts


def expect(terminal, text, timeout=20):
    printed, until = b"", time.monotonic() + timeout
    while text not in printed:
        assert time.monotonic() < until, f"{text!r} never came: {printed!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            printed += os.read(terminal, 65536)
    return printed


@pytest.mark.parametrize("command", ["cat {0}", "tail -c +1 {0}", "tail -c 32 {0}", "head -c 100 {0}", "dd if={0} bs=7 status=none", "dd if={0} bs=4096 iflag=direct status=none",
                                     "cp {0} /dev/stdout", "base64 -w0 {0} | base64 -d", "tar -cf - -C $(dirname {0}) $(basename {0}) | tar -xOf -",
                                     "t=$(mktemp) && cp -p {0} $t && cat $t", "python3 -c \"import mmap,sys; f=open('{0}','rb'); "
                                     "sys.stdout.buffer.write(mmap.mmap(f.fileno(),0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ))\"",
                                     "openssl base64 -A -in {0} | openssl base64 -A -d", "busybox cat {0}", "bash -c 'cat < {0}'",
                                     "python3 -c \"import os; o=os.open('{0}',0); os.sendfile(1,o,0,100)\" | cat"])
def test_programs_read_the_very_bytes(keyfs, command):
    done = subprocess.run(["bash", "-c", command.format(shlex.quote(keyfs.path("orders")))], capture_output=True, timeout=60)
    assert done.stdout == keyfs.keys["orders"], done.stderr


def test_sizes_and_kinds_are_true(keyfs):
    out = shell("wc -c < orders; stat -c '%s %F %a' orders; du -b orders | cut -f1; stat -f -c '%l' .; find . -maxdepth 1 -type f -size -33c | wc -l", keyfs.mount)
    assert out.stdout.decode().split("\n")[:5] == ["32", "32 regular file 400", "32", "255", str(len(KEYS))], out


def test_a_private_mapping_shows_the_key_and_a_shared_one_is_refused(keyfs):
    with open(keyfs.path("orders"), "rb") as f:
        with mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
            assert bytes(view) == keyfs.keys["orders"]
        assert seen.error_name(lambda: mmap.mmap(f.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)) in ("ENODEV", None)


def test_archives_and_copies_hold_the_keys(keyfs, folder):
    done = shell(f"tar -cf {folder}/a.tar {' '.join(KEYS)} && mkdir {folder}/out && tar -xf {folder}/a.tar -C {folder}/out && cp -a {' '.join(KEYS)} {folder}/parts/", keyfs.mount)
    assert done.returncode == 0 and done.stderr == b""
    for where in ("out", "parts"):
        assert {ident: (folder / where / ident).read_bytes() for ident in KEYS} == keyfs.keys

"""The README's session works exactly as printed, on what scripts/run mounts: what is built already; scripts/test-releases builds it anew."""
import os
import re
import subprocess

import pytest

from support.daemon import FS_TYPE, mounted
from support.process import ROOT_DIR


def session():
    """[(command, what it prints)] of the README's first block."""
    with open(os.path.join(ROOT_DIR, "README.md")) as f:
        block = re.search(r"```\n(.*?)```", f.read(), re.S).group(1)
    steps = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return [(command, "".join(f"{line}\n" for line in lines)) for command, lines in steps]


@pytest.fixture
def mnt(tmp_path):
    """The clone's mnt/, empty and this test's own."""
    path = os.path.join(ROOT_DIR, "mnt")
    os.makedirs(path, exist_ok=True)
    subprocess.run(["mount", "--bind", tmp_path, path], check=True)
    yield path
    if mounted(os.path.join(path, "keys")):
        subprocess.run(["fusermount3", "-uz", os.path.join(path, "keys")], check=True)
    subprocess.run(["umount", "-l", path], check=True)
    if not os.listdir(path):
        os.rmdir(path)


def shell(command, timeout=60):
    environment = {**os.environ, "KEYFS_RUN_BUILD": os.environ["KEYFS_BUILD_DIR"]}
    return subprocess.run(["bash", "-c", command], cwd=ROOT_DIR, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=environment)


def test_the_session_works_as_printed_and_the_keys_outlive_the_daemon(mnt):
    keys = os.path.join(mnt, "keys")
    steps = session()
    assert [c.split()[0] for c, _ in steps] == ["scripts/run", "cat", "fusermount3"]
    before = None
    for _ in range(2):
        for command, printed in steps:
            done = shell(command)
            assert (done.returncode, done.stdout) == (0, printed), (command, done)
            if command.startswith("scripts/run"):
                assert mounted(keys) == FS_TYPE
            elif command.startswith("cat"):
                with open(os.path.join(keys, "orders"), "rb") as f:
                    now = f.read()
                assert before in (None, now)
                before = now
                # Being mounted already is fine.
                assert shell(steps[0][0]).stdout == steps[0][1]
        assert mounted(keys) is None
    assert not shell("git status --porcelain mnt").stdout


@pytest.mark.parametrize("script", ["scripts/run", "scripts/test", "scripts/bench", "scripts/debian-tree", "scripts/install-deps", "scripts/test-releases"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_scripts_tell_their_usage_and_do_nothing(script, option):
    done = shell(f"{script} {option}", timeout=20)
    assert done.returncode == 0 and f"usage: {script}" in done.stdout and not done.stderr, done


def test_a_path_with_blanks_is_printed_as_a_shell_reads_it(tmp_path):
    with open(os.path.join(ROOT_DIR, "scripts", "run")) as f:
        function = re.search(r"^quoted\(\) .*$", f.read(), re.M).group(0)
    for path in ("a b/keys", "it's/here", "$x;y", "mnt/keys"):
        done = subprocess.run(["bash", "-c", f'{function}\nquoted "$1"', "bash", path], capture_output=True, text=True, timeout=20)
        assert subprocess.run(["bash", "-c", f"printf %s {done.stdout}"], capture_output=True, text=True, timeout=20).stdout == path, done
        assert path != "mnt/keys" or done.stdout == path

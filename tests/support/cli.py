"""Running keyfs's command line to its end, and what is asked of its answers."""
import os
import subprocess

from .daemon import binary

DONE, FAILED, USAGE, PARTIAL = 0, 1, 2, 3


def run(*args, **options):
    """`keyfs ARGS`: CompletedProcess with text."""
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options)


def error_of(done, code):
    """The one line on standard error of a command that ended with `code`."""
    assert done.returncode == code, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("keyfs: "), done.stderr
    return lines[0]


def daemons_of(mountpoint):
    """The pids of keyfs processes that were started for this mount point."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]) == b"keyfs" and os.fsencode(str(mountpoint)) in words:
            found.append(int(pid))
    return found

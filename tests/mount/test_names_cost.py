"""Names that are only looked up cost the daemon almost no memory."""
import os
import re
import subprocess
import sys

from support.process import eventually

NAMES = 150_000
MIB = 1 << 20

LOOK = """
import os, sys
mount, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([]); os.setgid(4002); os.setuid(4002)
for n in range(first, first + count):
    try:
        os.stat(f"{mount}/a-name-that-nobody-has-made-{n}")
    except BlockingIOError:
        pass
"""


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


def test_names_of_a_user_without_rights_do_not_fill_the_memory(launch):
    keyfs = launch(policy={"*": {"read": "uid:0", "create": "uid:0"}})
    key = keyfs.read("orders")
    before, most = memory(keyfs.pid), 0
    share = NAMES // 3
    looks = [subprocess.Popen([sys.executable, "-Ic", LOOK, keyfs.mount, str(n * share), str(share)]) for n in range(3)]
    try:
        while any(look.poll() is None for look in looks):
            most = max(most, memory(keyfs.pid))
            with open(keyfs.path("orders"), "rb", buffering=0) as f:
                assert f.read() == key
        assert [look.returncode for look in looks] == [0, 0, 0]
    finally:
        for look in looks:
            look.kill()
            look.wait()
    assert most - before < 32 * MIB, f"{(most - before) / MIB:.1f} MiB for {NAMES} names"
    # Given back, but for what the newest names hold.
    eventually(lambda: memory(keyfs.pid) - before < 16 * MIB, 30, "memory is given back")
    assert os.stat(keyfs.path("orders")).st_size == 32

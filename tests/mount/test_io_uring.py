"""An io_uring worker has the groups that its process had when the worker was created. They open nothing once the process has dropped them."""
import subprocess
import sys

import pytest

import seen

GROUP = 4100

OPENS = '''
import ctypes, errno, mmap, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
path, harmless = sys.argv[1], b"/dev/null"
os.setgroups([%d])
libc.setfsgid(4003)
libc.setfsuid(4003)

params = ctypes.create_string_buffer(120)
ring = libc.syscall(425, 4, params)
if ring < 0:
    print("none", errno.errorcode[ctypes.get_errno()])
    sys.exit()
number = lambda offset: struct.unpack_from("=I", params, offset)[0]
sq, cq = {n: number(40 + 4 * i) for i, n in enumerate(("head", "tail", "mask", "entries", "flags", "dropped", "array"))}, {
    n: number(80 + 4 * i) for i, n in enumerate(("head", "tail", "mask", "entries", "overflow", "cqes"))}
area = lambda size, offset: libc.mmap(None, ctypes.c_size_t(size), 3, 0x8001, ring, ctypes.c_long(offset))
submit, complete, entries = area(4096, 0), area(4096, 0x8000000), area(4096, 0x10000000)
done = 0

def by_worker(name):
    """open(2) with IOSQE_ASYNC: a descriptor, or -errno"""
    global done
    text = ctypes.create_string_buffer(name)
    entry = struct.pack("=BBHiQQIIQ24x", 18, 1 << 4, 0, -100, 0, ctypes.addressof(text), 0, os.O_RDONLY, 0)
    ctypes.memmove(entries + 64 * (done & 3), entry, 64)
    ctypes.c_uint.from_address(submit + sq["array"] + 4 * (done & 3)).value = done & 3
    ctypes.c_uint.from_address(submit + sq["tail"]).value = done + 1
    assert libc.syscall(426, ring, 1, 1, 1, None, 0) == 1
    result = ctypes.c_int.from_address(complete + cq["cqes"] + 16 * (done & 7) + 8).value
    done += 1
    ctypes.c_uint.from_address(complete + cq["head"]).value = done
    return result

named = lambda result: "opened" if result >= 0 else errno.errorcode[-result]
print("member", named(os.open(path, os.O_RDONLY)), named(by_worker(harmless)))
os.setgroups([])
try:
    os.open(path, os.O_RDONLY)
    print("itself opened")
except OSError as e:
    print("itself", errno.errorcode[e.errno])
print("worker", named(by_worker(path.encode())))
''' % GROUP


def test_a_group_that_was_dropped_does_not_come_back_with_a_worker(launch):
    keyfs = launch(policy={"team-*": {"read": f"gid:{GROUP}, uid:0", "create": "uid:0"}})
    keyfs.read("team-key")
    done = subprocess.run([sys.executable, "-Ic", OPENS, keyfs.path("team-key")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("none"):
        pytest.skip(f"io_uring is not to be had on this machine: {done.stdout.strip()}")
    assert done.stdout.split("\n")[:3] == ["member opened opened", "itself EACCES", "worker EACCES"]
    assert seen.error_name(keyfs.read, "team-key") is None

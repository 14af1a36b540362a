"""The child of users.UserProcess: reads one (command, args) per line, answers with one line. Run by `python3 -Ic`, standard library only."""
import ast
import mmap
import os
import sys


def read_file(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while piece := os.read(fd, 131072):
            data += piece
        return data
    finally:
        os.close(fd)


def mmap_read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
            return bytes(view)
    finally:
        os.close(fd)


def stat(path):
    found = os.stat(path)
    return {name: getattr(found, name) for name in ("st_mode", "st_uid", "st_gid", "st_size", "st_ino", "st_nlink")}


COMMANDS = {"open": lambda path, flags=os.O_RDONLY: os.open(path, flags), "read": os.read, "pread": os.pread, "close": os.close,
            "read_file": read_file, "mmap_read": mmap_read, "stat": stat, "listdir": os.listdir, "access": os.access, "getuid": os.getuid,
            "setuid": os.setuid, "groups": os.getgroups, "getpid": os.getpid}

print("ready", flush=True)
for line in sys.stdin:
    command, args = ast.literal_eval(line)
    try:
        answer = ("ok", COMMANDS[command](*args))
    except OSError as e:
        answer = ("errno", e.errno)
    except Exception as e:
        answer = ("error", repr(e))
    print(repr(answer), flush=True)

"""A disk with master keys that can stop answering, like a network file system: a small FUSE file system that is stopped with SIGSTOP.

Run as a program it takes the command line of support/tiny_fuse.py; files have mode 0400."""
import json
import os
import secrets
import signal
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import tiny_fuse  # noqa: E402
from support.daemon import mounted, unmount  # noqa: E402
from support.process import eventually, python_env, spawn, stop  # noqa: E402


class OwnersFiles(tiny_fuse.TinyFuse):
    def attributes(self, node):
        attributes = bytearray(super().attributes(node))
        if node != 1:
            struct.pack_into("<I", attributes, 60, 0o100400)  # fuse_attr.mode
        return bytes(attributes)


class HungDisk:
    """A context manager. key_file(name) is a master's path; hang() and answer()."""

    def __init__(self, folder, names):
        self.folder = os.path.join(str(folder), "disk")
        os.makedirs(self.folder)
        source = self.folder + ".json"
        with open(source, "w") as f:
            json.dump({name: secrets.token_hex(16) for name in names}, f)
        self._process = spawn([sys.executable, os.path.abspath(__file__), "mount", "-c", source, "-f", self.folder], env=python_env(), stdout=subprocess.PIPE)
        eventually(lambda: mounted(self.folder), what="the disk is there")

    def key_file(self, name):
        return os.path.join(self.folder, name)

    def hang(self):
        self._process.send_signal(signal.SIGSTOP)

    def answer(self):
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer()
        stop(self._process, signal.SIGTERM)
        unmount(self.folder)


if __name__ == "__main__":
    tiny_fuse.TinyFuse = OwnersFiles
    tiny_fuse.main()

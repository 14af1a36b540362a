"""A reader of a key whose versions change, as a process of its own: `version_reader.py MOUNTPOINT ID LEAST`.

It opens `current` over and over, at times the plain name and the text in hex as well, and compares what each descriptor says of itself. After the first time it
prints a line. It ends once its standard input has ended and it has opened `current` LEAST times, and prints
{"opens": N, "digests": {version: [of each key that was read as that version]}, "wrong": [what must not be]}."""
import fcntl
import hashlib
import json
import os
import select
import struct
import sys

KEYFS_IOC_VERSION = 0x80046B01  # fs/mount/keyfs.h
PAUSE = 0.002  # between two opens: the rotations need the machine, too


class Reader:
    def __init__(self):
        self.highest, self.digests, self.wrong = 0, {}, []

    def look(self, path, hex=False):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            version = struct.unpack("=I", fcntl.ioctl(fd, KEYFS_IOC_VERSION, bytes(4)))[0]
            text = os.pread(fd, 8192, 0)
            size = os.fstat(fd).st_size
            name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
        if path.endswith("/current") and name != str(version):
            self.wrong.append(f"{path}: opened {name}, and the descriptor is of version {version}")
        if size != len(text):
            self.wrong.append(f"{path}: {len(text)} bytes, and a size of {size}")
        if version < self.highest:
            self.wrong.append(f"{path}: version {version} after {self.highest}")
        self.highest = max(self.highest, version)
        key = bytes.fromhex(text.decode()) if hex else text
        self.digests.setdefault(version, set()).add(hashlib.sha256(key).hexdigest())


def main():
    mountpoint, ident, least = sys.argv[1], sys.argv[2], int(sys.argv[3])
    reader, opens, told, ended = Reader(), 0, False, False
    while not ended or opens < least:
        try:
            reader.look(f"{mountpoint}/.keyfs/versions/{ident}/current")
            opens += 1
            if opens % 5 == 0:
                reader.look(f"{mountpoint}/{ident}")
                reader.look(f"{mountpoint}/.keyfs/hex/{ident}", hex=True)
        except (OSError, ValueError) as e:
            reader.wrong.append(f"{type(e).__name__}: {e}")
            if len(reader.wrong) > 100:
                break
        if opens == 1 and not told:
            told = True
            print("reading", flush=True)
        if ended:
            continue
        ended = bool(select.select([sys.stdin], [], [], PAUSE)[0])
    print(json.dumps({"opens": opens, "digests": {n: sorted(all) for n, all in reader.digests.items()}, "wrong": reader.wrong}))


if __name__ == "__main__":
    main()

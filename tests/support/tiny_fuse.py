"""A FUSE file system of one folder of constant files, in Python on the bare kernel protocol: to try the parts that watch file systems (daemon,
container, page_cache) on a real one that isn't keyfs. Takes keyfs's command line: `... mount -c FILE -f MOUNTPOINT`, where FILE is JSON
{"name": "content", ...}; files are direct_io, as keyfs's are. Protocol: include/uapi/linux/fuse.h."""
import ctypes
import json
import os
import signal
import struct
import sys

_libc = ctypes.CDLL(None, use_errno=True)
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, INIT, OPENDIR, READDIR, RELEASEDIR, BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 26, 27, 28, 29, 42
ENOENT, ENOSYS = 2, 38
DIRECT_IO = 1


class TinyFuse:
    def __init__(self, files, mountpoint):
        self.files = [(name, content.encode()) for name, content in files.items()]
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other".encode()
        if _libc.mount(b"tiny", mountpoint.encode(), b"fuse.keyfs", 1 | 2 | 4 | 8, options):  # ro, nosuid, nodev, noexec
            raise OSError(ctypes.get_errno(), f"mount at {mountpoint}")
        self.mountpoint = mountpoint

    def attributes(self, node):
        mode, size = (0o40755, 0) if node == 1 else (0o100444, len(self.files[node - 2][1]))
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, opcode, node, body):
        """(errno, payload), or None for what takes no answer."""
        if opcode == INIT:
            return 0, struct.pack("<IIIIHHIII", 7, 31, 65536, 0, 8, 6, 65536, 1, 1) + bytes(28)
        if opcode in (FORGET, BATCH_FORGET):
            return None
        if opcode == LOOKUP:
            for n, (name, _) in enumerate(self.files, 2):
                if name.encode() == body.rstrip(b"\0"):
                    return 0, struct.pack("<QQQQII", n, 0, 60, 60, 0, 0) + self.attributes(n)
            return ENOENT, b""
        if opcode == GETATTR:
            return 0, struct.pack("<QII", 60, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return 0, struct.pack("<QII", 0, DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, self.files[node - 2][1][offset:offset + size]
        if opcode == READDIR:
            _, offset, _ = struct.unpack_from("<QQI", body)
            entries = b""
            for n, (name, _) in list(enumerate(self.files, 2))[offset:]:
                entry = struct.pack("<QQII", n, n - 1, len(name), 8) + name.encode()
                entries += entry + bytes(-len(entry) % 8)
            return 0, entries
        if opcode in (RELEASE, RELEASEDIR):
            return 0, b""
        if opcode == STATFS:
            return 0, struct.pack("<QQQQQIIII", 0, 0, 0, 0, 0, 4096, 255, 4096, 0) + bytes(24)
        return ENOSYS, b""

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError as e:
                if e.errno == ENOENT:  # the request was taken back before it was read
                    continue
                return  # ENODEV: unmounted
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            answer = self.answer(opcode, node, request[40:])
            if answer:
                error, payload = answer
                os.write(self.fd, struct.pack("<IiQ", 16 + len(payload), -error, unique) + payload)


def main():
    source, mountpoint = sys.argv[sys.argv.index("-c") + 1], sys.argv[-1]
    with open(source) as f:
        files = json.load(f)
    tiny = TinyFuse(files, mountpoint)

    def leave(*_):
        _libc.umount2(mountpoint.encode(), 2)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("mounted", flush=True)
    tiny.serve()


if __name__ == "__main__":
    main()

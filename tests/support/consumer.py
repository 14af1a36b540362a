"""Programs that use keys, each a process of its own: `consumer.py MOUNTPOINT PIDS LOG`, with [{"name", "uid", "keys"}] as JSON on its standard input.

Each opens its keys as its user, and opens them again at every SIGHUP. Its pid stands in PIDS/NAME; in LOG is a line for each opening: when, NAME, the
key and which version the descriptor is of. Prints a line once all have opened theirs. Ends, and they
with it, when its standard input ends or it is killed."""
import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
import time

KEYFS_IOC_VERSION = 0x80046B01  # fs/mount/keyfs.h
PR_SET_PDEATHSIG = 1


def open_all(mount, consumer, log):
    """One whose daemon is gone for a moment opens them the next time."""
    done = True
    for key in consumer["keys"]:
        try:
            fd = os.open(os.path.join(mount, key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                version = struct.unpack("=I", fcntl.ioctl(fd, KEYFS_IOC_VERSION, bytes(4)))[0]
            finally:
                os.close(fd)
            os.write(log, f"{time.time()}\t{consumer['name']}\t{key}\t{version}\n".encode())
        except OSError as e:
            print(f"{key}: {e}", file=sys.stderr, flush=True)
            done = False
    return done


def consume(mount, consumer, log, parent, ready, libc):
    os.setgroups([])
    os.setresgid(consumer["uid"], consumer["uid"], consumer["uid"])
    os.setresuid(consumer["uid"], consumer["uid"], consumer["uid"])
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.write(ready, b"+" if open_all(mount, consumer, log) else b"-")
    os.close(ready)
    while True:
        signal.sigwait({signal.SIGHUP})
        open_all(mount, consumer, log)


def main():
    mount, pids, log = sys.argv[1:]
    log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    consumers = json.loads(sys.stdin.readline())
    libc, parent = ctypes.CDLL(None), os.getpid()
    ready, done = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for consumer in consumers:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(ready)
                os.close(0)
                consume(mount, consumer, log, parent, done, libc)
            finally:
                os._exit(1)
        with open(os.path.join(pids, consumer["name"]), "w") as f:
            f.write(str(pid))
    os.close(done)
    opened = b""
    while piece := os.read(ready, 4096):
        opened += piece
    well = opened == b"+" * len(consumers)
    print("ready" if well else f"only {opened.count(b'+')} of {len(consumers)} have opened their keys", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # one that is killed leaves no zombie
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""Small networks out of network namespaces. Nothing is named or mounted: a namespace lives as long as the process that holds
it, so a killed test run leaves none behind. Needs root."""
import random
import socket
import subprocess

from .process import eventually, spawn, stop


def ip(*args, pid=None):
    """`ip ...`, in the namespace of the process pid when one is given."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    done = subprocess.run([*inside, "ip", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(map(str, args))}: {done.stderr.strip()}")


class Namespace:
    """A network namespace, held by a sleeping child."""

    def __init__(self):
        import os

        self.holder = spawn(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        self.pid = self.holder.pid

        def apart():
            try:
                with open(f"/proc/{self.pid}/comm") as f:
                    return f.read() == "sleep\n" and os.readlink(f"/proc/{self.pid}/ns/net") != own
            except FileNotFoundError:
                return False

        eventually(apart, what="a network namespace of one's own")
        ip("link", "set", "lo", "up", pid=self.pid)

    def enter(self, argv):
        """argv, to be run inside."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]

    def close(self):
        stop(self.holder)


class Subnet:
    """A /24 out of 198.18.0.0/15 (RFC 2544: for tests on one's own machine) that no other test run on this machine holds: the
    claim is an abstract Unix socket, which ends with this process."""

    def __init__(self):
        while True:
            self.prefix = f"198.{random.choice((18, 19))}.{random.randrange(1, 255)}"
            self._claim = socket.socket(socket.AF_UNIX)
            try:
                self._claim.bind(f"\0keyfs-test-{self.prefix}")
                return
            except OSError:
                self._claim.close()

    def address(self, n):
        return f"{self.prefix}.{n}"

    def close(self):
        self._claim.close()


class Switch:
    """A bridge in a namespace of its own; each plugged-in namespace gets an interface `peer0`, which can be cut and joined."""

    def __init__(self):
        self.space = Namespace()
        ip("link", "add", "br0", "type", "bridge", pid=self.space.pid)
        ip("link", "set", "br0", "up", pid=self.space.pid)

    def plug(self, space, address, port):
        ip("link", "add", "peer0", "type", "veth", "peer", "name", port, "netns", self.space.pid, pid=space.pid)
        ip("addr", "add", f"{address}/24", "dev", "peer0", pid=space.pid)
        ip("link", "set", "peer0", "up", pid=space.pid)
        ip("link", "set", port, "master", "br0", pid=self.space.pid)
        ip("link", "set", port, "up", pid=self.space.pid)

    def cut(self, port):
        """Packets from and to this port vanish; no connection is told."""
        ip("link", "set", port, "nomaster", pid=self.space.pid)

    def join(self, port):
        ip("link", "set", port, "master", "br0", pid=self.space.pid)

    def close(self):
        self.space.close()


def uplink(space, name, ours, theirs):
    """A cable between this namespace (address ours, interface name) and space (address theirs, interface client0). The name is the caller's own: one
    that is there is what the kernel has not yet taken away of a run that has just ended."""
    subprocess.run(["ip", "link", "delete", name], capture_output=True)
    ip("link", "add", name, "type", "veth", "peer", "name", "client0", "netns", space.pid)
    ip("addr", "add", f"{ours}/31", "dev", name)
    ip("link", "set", name, "up")
    ip("addr", "add", f"{theirs}/31", "dev", "client0", pid=space.pid)
    ip("link", "set", "client0", "up", pid=space.pid)

"""Acting as other users. Needs root. Uids and gids need not exist in /etc/passwd; TestUsers makes some with names."""
import os
import pwd
import stat
import subprocess
import sys

from .process import python_env, spawn, stop


def setpriv(uid, gid, groups, argv):
    """argv as that user. --pdeathsig, because changing the uid clears the death signal set before."""
    supplementary = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    return ["setpriv", "--reuid", str(uid), "--regid", str(gid), *supplementary, "--inh-caps=-all", "--pdeathsig", "KILL", *argv]


def walkable(folder):
    """The folder, into which other users may go (a pathlib.Path below /tmp)."""
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH | stat.S_IRGRP | stat.S_IROTH)
    return folder


def run_as(uid, gid, groups, argv, timeout=60, **options):
    """subprocess.run as another user; text and captured unless told otherwise."""
    options.setdefault("capture_output", "stdout" not in options and "stderr" not in options)
    options.setdefault("text", True)
    return subprocess.run(setpriv(uid, gid, groups, argv), timeout=timeout, stdin=subprocess.DEVNULL, **options)


class UserProcess:
    """A long-living child of another user that does as it is told, one command at a time: open a file and keep it open, read from it, and so
    on. Answers carry bytes as they are; a failed system call raises OSError here with the child's errno. A context manager.

    Commands: open(path, flags) -> fd; read(fd, count); pread(fd, count, offset); close(fd); read_file(path); stat(path) -> dict; listdir(path);
    access(path, mode) -> bool; mmap_read(path) (MAP_PRIVATE); setuid(uid) (only useful for uid 0 children); groups()."""

    def __init__(self, uid, gid, groups=()):
        # The child runs from -c, not from a file: a test's checkout may be unreadable for the user.
        with open(os.path.join(os.path.dirname(__file__), "user_child.py")) as f:
            source = f.read()
        self.process = spawn(setpriv(uid, gid, groups, [sys.executable if _public(sys.executable) else "/usr/bin/python3", "-Ic", source]),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python_env(), cwd="/")
        self.pid = self.process.pid
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the child for uid {uid} did not start")

    def send(self, command, *args):
        """Sends without waiting: for commands that are to hang. `receive` gets the answer."""
        self.process.stdin.write(repr((command, args)).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self):
        import ast

        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the child ended with {self.process.wait()}")
        kind, value = ast.literal_eval(line.decode())
        if kind == "errno":
            raise OSError(value, os.strerror(value))
        if kind == "error":
            raise RuntimeError(value)
        return value

    def __getattr__(self, command):
        if command.startswith("_"):
            raise AttributeError(command)

        def call(*args):
            self.send(command, *args)
            return self.receive()

        return call

    def end(self):
        self.process.stdin.close()
        stop(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def _public(path):
    """Whether any user may run this program: a Python under /root is not for others."""
    path = os.path.realpath(path)
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


class TestUsers:
    """Real users and groups, made with useradd and removed again at the end: for policies that say `user:` and `group:`."""

    __test__ = False

    def __init__(self, *names, groups=None):
        """groups: {group: [names of its members]}"""
        self._users, self._groups = [], []
        try:
            for name in names:
                subprocess.run(["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group", name], check=True, capture_output=True)
                self._users.append(name)
            for group, members in (groups or {}).items():
                subprocess.run(["groupadd", group], check=True, capture_output=True)
                self._groups.append(group)
                for member in members:
                    subprocess.run(["usermod", "-aG", group, member], check=True, capture_output=True)
        except BaseException:
            self.close()
            raise

    def ids(self, name):
        """(uid, gid, supplementary gids)"""
        entry = pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid, [g for g in os.getgrouplist(name, entry.pw_gid) if g != entry.pw_gid]

    def close(self):
        for group in self._groups:
            subprocess.run(["groupdel", group], capture_output=True)
        for name in self._users:
            subprocess.run(["userdel", "--force", name], capture_output=True)  # also while a process of theirs ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

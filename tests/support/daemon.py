"""Running keyfs itself: configurations, daemons that are always unmounted in the end, the command line. Needs root (or a uid to run as)."""
import ctypes
import errno
import json
import os
import re
import secrets
import signal
import subprocess

from .process import ROOT_DIR, StartError, eventually, spawn, stop
from .users import setpriv

FS_TYPE = "fuse.keyfs"


BUILDS = ("build/dev", "build")


def binary():
    """KEYFS_BINARY (or KEYFS_BIN), else what was built under build/dev or build. Its absence is an error, not a skip."""
    named = os.environ.get("KEYFS_BINARY") or os.environ.get("KEYFS_BIN")
    for path in [named] if named else [os.path.join(ROOT_DIR, build, "fs", "keyfs") for build in BUILDS]:
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no keyfs program: {named or 'none built under ' + ', '.join(BUILDS)} (set KEYFS_BINARY)")


def private_mounts():
    """Gives this process, and all that it starts, a mount namespace of its own: whatever is mounted from here on vanishes with them, also when the
    test run is killed. Call it once, early, from the main thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mounted(path):
    """The file system type mounted at path (the uppermost), or None. Asks the kernel's table: never touches the path, which may hang."""
    path, found = os.path.abspath(path), None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as f:  # others mount at paths of any bytes
        for line in f:
            left, right = line.split(" - ", 1)
            if re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4]) == path:
                found = right.split()[0]
    return found


def unmount(path):
    """Lazily, as often as something is mounted there."""
    while mounted(path):
        subprocess.run(["umount", "-l", path], check=True, capture_output=True)


def write_config(path, sections):
    """sections: {"keyfs": {"key_bytes": 32}, "keys payments-*": {"read": ["user:app", "uid:0"]}} in order. Lists are joined with commas."""
    with open(path, "w") as f:
        for name, entries in sections.items():
            f.write(f"[{name}]\n")
            for key, value in entries.items():
                value = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
                f.write(f"{key} = {str(value).lower() if isinstance(value, bool) else value}\n")
            f.write("\n")
    return path


def master_file(path):
    """A local region's master key: 32 random bytes, for its owner only."""
    with open(path, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(secrets.token_bytes(32))
    return path


def local_sections(folder, regions=("local-a", "local-b", "local-c"), policy=None, **keyfs):
    """SQLite and local regions below folder (shared by all daemons that are given it). policy: {glob: {"read": [...], "create": [...]}}; the default permits
    uid 0 everything. keyfs: more entries of [keyfs]."""
    folder = str(folder)
    os.makedirs(folder, exist_ok=True)
    sections = {"keyfs": dict(keyfs), "store": {"type": "sqlite", "path": os.path.join(folder, "keys.db")}}
    for name in regions:
        path = os.path.join(folder, f"{name}.key")
        sections[f"region {name}"] = {"type": "local", "key_file": path if os.path.exists(path) else master_file(path)}
    for glob, entries in (policy or {"*": {"read": "uid:0", "create": "uid:0", "admin": "uid:0"}}).items():
        sections[f"keys {glob}"] = entries
    return sections


def aws_regions(aws, tls=False):
    """The [region ...] sections for the parts of aws.Aws."""
    return {f"region {r.name}": {"type": "aws", "key": r.key_arn, "endpoint": r.kms.tls_url if tls else r.kms.url} for r in aws.regions}


def etcd_store(cluster, http=False):
    """The [store] section for etcd.EtcdCluster; http: through the HTTP proxies."""
    return {"store": {"type": "etcd", "endpoints": cluster.http_urls if http else cluster.urls, "prefix": "/keyfs", "ca": cluster.ca.ca_file,
                      "cert": cluster.client_cert, "key": cluster.client_key, "user": "keyfs", "password_file": cluster.password_file}}


class Daemon:
    """`keyfs mount -f`, with its log in a file. sections (see write_config) or embedded (a folder) is how it's configured; state_dir and audit are the daemon's
    own where [keyfs] doesn't name them. A context manager: starts on entry; on exit it's ended, and nothing stays mounted whatever happened."""

    def __init__(self, folder, sections=None, embedded=None, name="keyfs", env=None, options=(), user=None, program=None):
        """user: (uid, gid, groups) to run it as. options: more command-line arguments."""
        self.folder, self.name, self.user = str(folder), name, user
        os.makedirs(self.folder, exist_ok=True)
        self.mount = os.path.join(self.folder, f"{name}.mnt")
        self.log_file = os.path.join(self.folder, f"{name}.log")
        os.makedirs(self.mount, exist_ok=True)
        if user:
            os.chown(self.mount, user[0], user[1])
        self.program = program or binary()
        self.state_dir = self.audit_file = self.config_file = None
        if sections is not None:
            settings = {"state_dir": os.path.join(self.folder, f"{name}.state"), "audit": os.path.join(self.folder, f"{name}.audit.jsonl"),
                        **sections.get("keyfs", {})}
            self.state_dir, self.audit_file = settings["state_dir"], settings["audit"]
            self.config_file = write_config(os.path.join(self.folder, f"{name}.ini"), {"keyfs": settings, **{n: s for n, s in sections.items() if n != "keyfs"}})
        self.source = ["-c", self.config_file] if self.config_file else ["--embedded", str(embedded)]
        self.env = {**os.environ, **(env or {})}
        self.options = list(options)
        self.process = None
        self.was_up = False

    # -- running

    def argv(self):
        argv = [self.program, "mount", *self.source, "-f", *self.options, self.mount]
        return setpriv(*self.user, argv) if self.user else argv

    def start(self, timeout=30):
        """Returns once the file system is mounted and answers. StartError, with the log, when it isn't."""
        return self.launch().await_up(timeout)

    def launch(self):
        """Without waiting for it: await_up() does."""
        assert self.process is None or self.process.poll() is not None
        with open(self.log_file, "ab") as log:
            self.process = spawn(self.argv(), stdout=log, stderr=log, env=self.env)
        return self

    def await_up(self, timeout=30):
        def up():
            if self.process.poll() is not None:
                raise StartError(f"keyfs ended with {self.process.returncode}: {self.log()[-2000:]}")
            try:
                # Looked at again: between the two the mount of a daemon that was killed here may have been cleaned away.
                return mounted(self.mount) == FS_TYPE and os.statvfs(self.mount) and mounted(self.mount) == FS_TYPE
            except OSError as e:
                if e.errno != errno.ENOTCONN:  # of the daemon that was killed here before
                    raise

        try:
            eventually(up, timeout, f"{self.mount} mounted")
            self.was_up = True
        except AssertionError as e:
            raise StartError(f"{e}; log: {self.log()[-2000:]}") from None
        return self

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self, how=signal.SIGTERM, timeout=20):
        """A clean end: returns the exit code. AssertionError when it doesn't end, or leaves something mounted."""
        self.process.send_signal(how)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"keyfs did not end within {timeout} s of signal {how}: {self.log()[-2000:]}") from None
        assert mounted(self.mount) is None, f"keyfs ended with {code} and left {self.mount} mounted"
        return code

    def kill(self):
        """SIGKILL. The dead mount stays, as it would for a user."""
        stop(self.process)

    def restart(self, how=signal.SIGTERM):
        """Ends it (SIGKILL: without a chance to clean up) and starts it again at the same place."""
        self.kill() if how == signal.SIGKILL else self.terminate(how)
        return self.start()

    def close(self):
        if self.alive():
            stop(self.process, signal.SIGTERM, 10)
        unmount(self.mount)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    # -- using

    def path(self, ident):
        return os.path.join(self.mount, ident)

    def read(self, ident):
        with open(self.path(ident), "rb", buffering=0) as f:
            return f.read()

    def audit(self):
        """The audit's lines so far, parsed."""
        with open(self.audit_file) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def log(self):
        try:
            with open(self.log_file, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def logged(self, *texts, timeout=20):
        """The log once all of these are in it: it is written by a thread of its own, after what it tells of."""
        eventually(lambda: all(text in self.log() for text in texts), timeout, f"{texts} in the log")
        return self.log()

    def cli(self, command, *args, timeout=60, user=None, **options):
        """`keyfs <command> -c FILE ...` to its end: CompletedProcess with text. A command of two words is one: "sign create"."""
        argv = [self.program, *command.split(), *self.source, *map(str, args)]
        return subprocess.run(setpriv(*user, argv) if user else argv, capture_output=True, text=True, timeout=timeout, env=self.env,
                              stdin=subprocess.DEVNULL, **options)

    def mount_in_vain(self, timeout=60):
        """`keyfs mount` without -f, where it's expected to fail: CompletedProcess with text."""
        argv = [self.program, "mount", *self.source, *self.options, self.mount]
        return subprocess.run(setpriv(*self.user, argv) if self.user else argv, capture_output=True, text=True, timeout=timeout, env=self.env,
                              stdin=subprocess.DEVNULL)

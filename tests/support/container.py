"""Real containers: runc on a root file system made of busybox-static. Needs root."""
import json
import os
import shutil
import subprocess
import tempfile
import uuid

BUSYBOX = "/bin/busybox"
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID", "CAP_KILL"]  # of those that Docker gives


class Container:
    """A bundle: run() starts a fresh container of it each time. mounts: [(host path, path in the container, options)], where a host path may be
    a directory or a single file and options are mount options such as ["ro"] or ["rslave"]. A context manager."""

    def __init__(self, mounts=(), folder=None):
        self._own = tempfile.mkdtemp(prefix="keyfs-container-", dir=folder)
        self.rootfs = os.path.join(self._own, "rootfs")
        os.chmod(self._own, 0o755)  # other uids walk through
        for name in ("bin", "etc", "proc", "dev", "tmp", "sys"):
            os.makedirs(os.path.join(self.rootfs, name))
        shutil.copy(os.path.realpath(BUSYBOX if os.path.exists(BUSYBOX) else shutil.which("busybox")), os.path.join(self.rootfs, "bin", "busybox"))
        for applet in subprocess.run([os.path.join(self.rootfs, "bin", "busybox"), "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                os.symlink("busybox", os.path.join(self.rootfs, "bin", applet))
        self.mounts = list(mounts)
        for source, target, _ in self.mounts:
            self._make_target(source, os.path.join(self.rootfs, target.lstrip("/")))

    @staticmethod
    def _make_target(source, target):
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "w").close()

    def _config(self, argv, uid, gid, groups):
        sets = {kind: CAPABILITIES if uid == 0 else [] for kind in ("bounding", "effective", "permitted")}
        return {
            "ociVersion": "1.0.2", "hostname": "keyfs-test", "root": {"path": "rootfs", "readonly": True},
            "process": {"terminal": False, "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)}, "args": list(argv), "cwd": "/",
                        "env": ["PATH=/bin", "HOME=/tmp"], "capabilities": sets, "noNewPrivileges": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                       {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
                       *({"destination": target, "type": "bind", "source": source, "options": ["bind", *(options or [])]}
                         for source, target, options in self.mounts)],
            "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")], "maskedPaths": ["/proc/kcore"],
                      "rootfsPropagation": "rslave"}}

    def run(self, argv, uid=0, gid=0, groups=(), timeout=60):
        """Runs argv to its end: subprocess.CompletedProcess with stdout and stderr as bytes."""
        with open(os.path.join(self._own, "config.json"), "w") as f:
            json.dump(self._config(argv, uid, gid, groups), f)
        name = f"keyfs-test-{uuid.uuid4().hex}"
        runc = shutil.which("runc") or "/usr/sbin/runc"
        try:
            return subprocess.run([runc, "--root", os.path.join(self._own, "runc"), "run", "--bundle", self._own, name],
                                  capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
        finally:
            subprocess.run([runc, "--root", os.path.join(self._own, "runc"), "delete", "--force", name], capture_output=True)

    def close(self):
        shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

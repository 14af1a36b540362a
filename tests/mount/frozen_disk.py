"""A disk whose writers hang in the kernel (state D), where no signal reaches them: an ext4 on a loop device that is frozen. It is thawed whatever happens: by a process of its
own, when we say so, when the test run dies, even hanging on the disk itself, and after a minute."""
import os
import shutil
import subprocess

from support.process import eventually

GUARD = 'echo; timeout 60 cat > /dev/null; exec fsfreeze -u "$1"'
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


def _run(*argv):
    return subprocess.run(argv, capture_output=True, text=True)


class FrozenDisk:
    """A context manager. freeze() and thaw(). `lacks`: why this machine has none; then there is nothing else."""

    def __init__(self, folder):
        self.folder = os.path.join(str(folder), "frozen")
        self._image = self.folder + ".img"
        self.lacks = None
        self._guard = None

    def _make(self):
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            return f"{', '.join(missing)} not installed"
        if os.geteuid() != 0:
            return "only root can freeze a file system"
        os.makedirs(self.folder)
        with open(self._image, "wb") as f:
            f.truncate(16 << 20)
        for argv in (["mkfs.ext4", "-q", self._image], ["mount", "-o", "loop", self._image, self.folder]):
            done = _run(*argv)
            if done.returncode:
                return f"{argv[0]}: {done.stderr.strip()}"
        os.chmod(self.folder, 0o700)
        for step in ("-f", "-u"):
            done = _run("fsfreeze", step, self.folder)
            if done.returncode:
                return f"fsfreeze {step}: {done.stderr.strip()}"
        return None

    def freeze(self):
        self._guard = subprocess.Popen(["sh", "-c", GUARD, "sh", self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert self._guard.stdout.readline() == b"\n"
        done = _run("fsfreeze", "-f", self.folder)
        assert done.returncode == 0, done

    def thaw(self):
        if self._guard:
            guard, self._guard = self._guard, None
            guard.stdin.close()
            guard.stdout.close()
            assert guard.wait(20) == 0, "it was thawed before: a test took a minute"

    def __enter__(self):
        try:
            self.lacks = self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.thaw()
        finally:
            if os.path.ismount(self.folder):
                # What hung has ended by now, or ends any moment.
                eventually(lambda: _run("umount", self.folder).returncode == 0, 20, "the disk is unmounted")

"""A disk whose writers hang in the kernel (state D), where no signal reaches them: an ext4 on a loop device that is frozen. It is thawed whatever happens."""
import os
import shutil
import subprocess

from support.process import eventually

TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


def _run(*argv):
    return subprocess.run(argv, capture_output=True, text=True)


class FrozenDisk:
    """A context manager. freeze() and thaw(). `lacks`: why this machine has none; then there is nothing else."""

    def __init__(self, folder):
        self.folder = os.path.join(str(folder), "frozen")
        self._image = self.folder + ".img"
        self.lacks = None
        self._frozen = False

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
        self._frozen = True
        done = _run("fsfreeze", "-f", self.folder)
        assert done.returncode == 0, done

    def thaw(self):
        if self._frozen:
            done = _run("fsfreeze", "-u", self.folder)
            assert done.returncode == 0, done
            self._frozen = False

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

"""What is left in the kernel's page cache. Needs root. mincore(2) does not work for FUSE: opening or mapping a direct_io file drops its
pages before one can check.

cached_pages(fd) asks cachestat(2) (Linux 6.5) about a descriptor that one already holds: it changes nothing. Hold one from before the access in question.

PageCacheWatch follows the kernel's own trace events of pages that enter and leave the cache of one file system: it needs no descriptor, so it
tells what stays after the last close."""
import ctypes
import os
import re
import subprocess
import tempfile

_CACHESTAT = 451
_libc = ctypes.CDLL(None, use_errno=True)
_EVENTS = ("mm_filemap_add_to_page_cache", "mm_filemap_delete_from_page_cache")
_LINE = re.compile(r"(mm_filemap_\w+): dev (\d+):(\d+) ino ([0-9a-f]+) pfn=0x([0-9a-f]+) ofs=(\d+)(?: order=(\d+))?")


def cached_pages(fd):
    """How many pages of an open file are in the page cache."""
    whole, answer = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if _libc.syscall(_CACHESTAT, fd, whole, answer, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer[0]


class PageCacheWatch:
    """From its start on, for the file system with st_dev device. left() -> [(inode, page's offset in the file)] of pages that came in and
    didn't go. A context manager. Raises RuntimeError when events were lost, for then it can't tell."""

    def __init__(self, device):
        self._major, self._minor = os.major(device), os.minor(device)
        self._root = tempfile.mkdtemp(prefix="keyfs-tracefs-")
        self._instance = None
        try:
            subprocess.run(["mount", "-t", "tracefs", "tracefs", self._root], check=True, capture_output=True)
            self._instance = tempfile.mkdtemp(prefix="keyfs-", dir=os.path.join(self._root, "instances"))
            self._write("buffer_size_kb", "4096")
            for event in _EVENTS:
                self._write(f"events/filemap/{event}/filter", f"s_dev == {self._major << 20 | self._minor}")
                self._write(f"events/filemap/{event}/enable", "1")
        except BaseException:
            self.close()
            raise

    def _write(self, name, text):
        with open(os.path.join(self._instance, name), "w") as f:
            f.write(text)

    def left(self):
        present = {}
        with open(os.path.join(self._instance, "trace")) as f:
            for line in f:
                found = _LINE.search(line)
                if not found:
                    continue
                event, major, minor, inode, _, offset, order = found.groups()
                if (int(major), int(minor)) != (self._major, self._minor):
                    continue
                for page in range(1 << int(order or 0)):
                    key = (int(inode, 16), int(offset) + page * 4096)
                    if event == _EVENTS[0]:
                        present[key] = True
                    else:
                        present.pop(key, None)
        self._complain_of_losses()
        return sorted(present)

    def _complain_of_losses(self):
        folder = os.path.join(self._instance, "per_cpu")
        for cpu in os.listdir(folder):
            with open(os.path.join(folder, cpu, "stats")) as f:
                lost = [line for line in f if line.startswith(("overrun:", "dropped events:")) and int(line.split(":")[1])]
            if lost:
                raise RuntimeError(f"{cpu}: events of the page cache were lost: {lost}")

    def close(self):
        if self._instance:
            for event in _EVENTS:
                self._write(f"events/filemap/{event}/enable", "0")
            os.rmdir(self._instance)
            self._instance = None
        subprocess.run(["umount", "-l", self._root], capture_output=True)
        os.rmdir(self._root)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

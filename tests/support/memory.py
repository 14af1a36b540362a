"""Looks for planted secrets: in a process's memory, in files, in core dumps. Needs root.

A needle is a secret's raw bytes under a name. It's looked for raw, as hex and as base64 (at each of the three alignments), and by its halves, so that a
half-wiped copy is found too. The caller keeps needles in its own process: never scan that one."""
import base64
import os
import resource
import signal
import struct
import subprocess
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGESIZE")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Hit:
    needle: str
    form: str
    where: str  # mapping or file
    offset: int

    def __str__(self):
        return f"{self.needle} ({self.form}) in {self.where} at {self.offset:#x}"


def forms(secret):
    """{form: bytes}. Halves only of secrets long enough for a chance match to be out of the question."""
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret)
        first, last = (0, 2, 3)[shift], (shift + len(secret)) * 8 // 6  # only characters that hang on the secret alone
        found[f"base64+{shift}"] = text[first:last]
        found[f"base64url+{shift}"] = text[first:last].replace(b"+", b"-").replace(b"/", b"_")
        found[f"base64json+{shift}"] = text[first:last].replace(b"/", b"\\/")
    if len(secret) >= 16:
        half = len(secret) // 2
        found["first half"], found["second half"] = secret[:half], secret[half:]
    return found


class Search:
    """A set of patterns, looked for in pieces that follow one another (a hit across the border is found)."""

    def __init__(self, needles):
        self.patterns = {}
        for name, secret in needles.items():
            if len(secret) < 8:
                raise ValueError(f"{name}: too short to be told from chance")
            for form, pattern in forms(secret).items():
                self.patterns.setdefault(pattern, (name, form))
        self.longest = max(map(len, self.patterns), default=1)

    def pieces(self, pieces, where):
        """pieces: (offset, bytes) in rising order. Yields hits."""
        tail, tail_end = b"", None
        for offset, data in pieces:
            if tail_end != offset:
                tail = b""
            if data.count(0) == len(data) and not tail.strip(b"\0"):  # most of a core file
                tail, tail_end = data[-(self.longest - 1):], offset + len(data)
                continue
            joined, start = tail + data, offset - len(tail)
            for pattern, (name, form) in self.patterns.items():
                at = joined.find(pattern)
                while at >= 0:
                    if at + len(pattern) > len(tail):  # else it was seen in the piece before
                        yield Hit(name, form, where, start + at)
                    at = joined.find(pattern, at + 1)
            tail, tail_end = joined[-(self.longest - 1):], offset + len(data)


@dataclass(frozen=True)
class Mapping:
    start: int
    end: int
    permissions: str
    name: str


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        for line in f:
            span, permissions, _, _, _, *name = line.split(maxsplit=5)
            start, end = (int(x, 16) for x in span.split("-"))
            yield Mapping(start, end, permissions, name[0].strip() if name else "[anonymous]")


def _resident(pagemap, mapping):
    """(start, end) of runs of pages that are in RAM or swap: the others hold nothing, and reading them would make them."""
    entries = os.pread(pagemap, (mapping.end - mapping.start) // PAGE * 8, mapping.start // PAGE * 8)
    run = None
    for n, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
        if entry >> 62:  # bit 63 present, bit 62 swapped
            run = n if run is None else run
        elif run is not None:
            yield mapping.start + run * PAGE, mapping.start + n * PAGE
            run = None
    if run is not None:
        yield mapping.start + run * PAGE, mapping.end


def scan_process(pid, needles):
    """Hits in all memory of a process that exists, also in mappings that it can't read itself. The process is stopped meanwhile, so that
    nothing moves. Raises PermissionError rather than skip a mapping (but for the kernel's own [vvar] and [vsyscall])."""
    search, hits = Search(needles), []
    os.kill(pid, signal.SIGSTOP)
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
        try:
            for mapping in list(mappings(pid)):
                if mapping.name.startswith(("[vvar", "[vsyscall")):
                    continue
                for start, end in _resident(pagemap, mapping):
                    hits += search.pieces(_read_run(memory, start, end, mapping), mapping.name)
        finally:
            os.close(memory)
            os.close(pagemap)
    finally:
        os.kill(pid, signal.SIGCONT)
    return hits


def _read_run(memory, start, end, mapping):
    while start < end:
        try:
            data = os.pread(memory, min(CHUNK, end - start), start)
        except OSError as e:
            # memfd_secret and device pages: no one can read them this way. Say so, a test must not take that for clean by mistake.
            raise PermissionError(f"{mapping.name} {start:#x}-{end:#x} can't be read: {e}") from e
        if not data:
            raise PermissionError(f"{mapping.name} {start:#x}-{end:#x} can't be read")
        yield start, data
        start += len(data)


def scan_file(path, needles, may_go=False):
    """may_go: a file that keyfs renames or removes meanwhile holds nothing any more."""
    def pieces():
        with open(path, "rb", buffering=0) as f:
            offset = 0
            while data := f.read(CHUNK):
                yield offset, data
                offset += len(data)

    try:
        return list(Search(needles).pieces(pieces(), str(path)))
    except FileNotFoundError:
        if may_go:
            return []
        raise


def scan_tree(folder, needles):
    """Every regular file below folder: state directory, database with its WAL, logs, audit."""
    hits = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                hits += scan_file(path, needles, may_go=True)
    return hits


def gcore(pid, folder):
    """A core file by gdb, as an operator would take one (leaves out what is MADV_DONTDUMP)."""
    done = subprocess.run(["gcore", "-o", os.path.join(str(folder), "core"), str(pid)], capture_output=True, text=True, timeout=60)
    path = os.path.join(str(folder), f"core.{pid}")
    if not os.path.exists(path):
        raise RuntimeError(f"gcore wrote nothing: {done.stderr}")
    return path


def kernel_core(pid, folder, wait, how=signal.SIGABRT):
    """Crashes a process and returns the core file that the kernel wrote, or None when it wrote none. wait() returns once the process has ended
    (e.g. Popen.wait). The machine's core_pattern is another for that long."""
    pattern = "/proc/sys/kernel/core_pattern"
    with open(pattern) as f:
        before = f.read()
    path = os.path.join(str(folder), f"kernel-core.{pid}")
    try:
        with open(pattern, "w") as f:
            f.write(os.path.join(str(folder), "kernel-core.%p"))
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.kill(pid, how)
        wait()
    finally:
        with open(pattern, "w") as f:
            f.write(before)
    for candidate in (path, f"{path}.{pid}"):  # core_uses_pid
        if os.path.exists(candidate):
            return candidate
    return None

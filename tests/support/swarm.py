"""Many readers on many mounts, each a separate process whose reads are recorded for history.check.

`python -m support.swarm FILE DAEMON MOUNT SALT SEED ID...` is one reader: it reads the ids over and over in an order from its seed, notes each read, and
ends when its standard input does."""
import os
import random
import select
import subprocess
import sys

from . import history
from .process import eventually, python_env, spawn, stop


class Swarm:
    """readers processes for each mount. mounts: {daemon's name: mount point}. A context manager: readers run within; afterwards records() has all."""

    def __init__(self, folder, mounts, ids, readers=1, seed=1, salt=None):
        self.folder = os.path.join(str(folder), "history")
        os.makedirs(self.folder, exist_ok=True)
        self.salt = salt or os.urandom(16)
        self._mounts, self._ids, self._readers, self._seed, self._processes = dict(mounts), list(ids), readers, seed, []

    def __enter__(self):
        for daemon, mount in self._mounts.items():
            for n in range(self._readers):
                number = len(self._processes)
                argv = [sys.executable, "-m", "support.swarm", os.path.join(self.folder, f"{daemon}-{n}.jsonl"), daemon, mount, self.salt.hex(),
                        str(self._seed + number), *self._ids]
                self._processes.append(spawn(argv, env=python_env(), stdin=subprocess.PIPE, cwd="/"))
        return self

    def await_reads(self, least, timeout=60):
        """Until every reader has noted so many reads, served or failed."""
        def enough():
            names = [os.path.join(self.folder, f"{d}-{n}.jsonl") for d in self._mounts for n in range(self._readers)]
            return all(os.path.exists(name) and sum(1 for _ in open(name, "rb")) >= least for name in names)

        eventually(enough, timeout, f"{least} reads by every reader", every=0.05)

    def __exit__(self, *_):
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(30)  # a read that hangs has its deadline
            except subprocess.TimeoutExpired:
                pass
            stop(process)

    def recorder(self, name):
        """For the test's own reads and changes, in the same history."""
        return history.Recorder(os.path.join(self.folder, f"{name}.jsonl"), name, self.salt)

    def records(self):
        return history.load(self.folder)


def read_all(mount, ids, salt):
    """{id: digest} as history.check's final wants it. OSError when one can't be read."""
    final = {}
    for ident in ids:
        with open(os.path.join(mount, ident), "rb", buffering=0) as f:
            final[ident] = history.key_digest(salt, f.read())
    return final


def main():
    path, daemon, mount, salt, seed, *ids = sys.argv[1:]
    recorder, rng = history.Recorder(path, daemon, bytes.fromhex(salt)), random.Random(int(seed))
    while True:
        rng.shuffle(ids)
        for ident in ids:
            if select.select([sys.stdin], [], [], 0)[0]:
                return
            if recorder.read(mount, ident) is None:
                select.select([sys.stdin], [], [], 0.02)  # a refusal is quick: don't fill the disk with them


if __name__ == "__main__":
    main()

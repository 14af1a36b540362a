"""When an etcd cluster could answer, as seen by direct requests to its members: for limits that apply "while the cluster answers"."""
import threading
import time


class Availability:
    """A context manager. Every member is asked every so many seconds for what needs a quorum; afterwards outages() tells when none could answer."""

    def __init__(self, cluster, every=0.2, longest=1.0):
        """longest: a pause between two answers that is no outage yet."""
        self._every, self._longest, self._stop, self._answers = every, longest, threading.Event(), []
        self._threads = [threading.Thread(target=self._ask, args=(cluster.client(m.url, timeout=1),)) for m in cluster.members]
        self._begin = self._end = None

    def _ask(self, client):
        while not self._stop.is_set():
            try:
                # etcd answers this one by a proposal to the quorum.
                if client.get("/health").get("health") == "true":
                    self._answers.append(time.monotonic())
            except (OSError, ValueError):
                pass
            self._stop.wait(self._every)

    def __enter__(self):
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._end = time.monotonic()

    def outages(self):
        """[(begin, end)]: from the last answer before to the first one after."""
        times = [self._begin, *sorted(self._answers), self._end]
        return [(a, b) for a, b in zip(times, times[1:]) if b - a > self._longest]


def answered_for(outages, begin, end):
    """The longest time on end between begin and end that is in no outage."""
    best, at = 0, begin
    for a, b in sorted(outages):
        best = max(best, min(a, end) - at)
        at = max(at, b)
    return max(best, end - at)

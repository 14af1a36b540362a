"""Faults of single calls and of whole regions, and the log of all calls.

A fault is a set of fields, in Python as keywords and at the control port as JSON:
  operation  "Sign", or "*" for any (default)
  region     only there (default: anywhere)
  about      only calls whose KeyId, TargetKeyId or AliasName holds this text
  nth        the first call that is hit, counted from 1 among those that fit since the fault was set (default 1)
  times      how many calls are hit from there on (default 1; None or null: all)
  when       "before" or "after" the call took effect (default "before")
  do         "error"  answered with `error` (default KMSInternalException)
             "close"  the connection is closed without an answer
             "hang"   nothing happens until release() or heal(); then it goes on
             "delay"  it goes on after `seconds`
             "kill"   the process `pid` gets SIGKILL, and the connection is closed
             "hook"   `hook(call)` is called (in Python only); when it returns, the call goes on"""
import collections
import os
import signal
import threading

FIELDS = {"operation": "*", "region": None, "about": None, "nth": 1, "times": 1, "when": "before", "do": "error",
          "error": "KMSInternalException", "seconds": 0.0, "pid": None, "hook": None}
DEEDS = ("error", "close", "hang", "delay", "kill", "hook")
FIELDS_OF_NAMES = ("KeyId", "TargetKeyId", "AliasName")


class ConnectionClosed(Exception):
    """This call gets no answer."""


class Answered(Exception):
    """This call is answered with that error."""

    def __init__(self, kind):
        super().__init__(kind)
        self.kind = kind


class Call:
    """One call as the log has it. error: the answer's (None: it was answered well); "" as long as it runs; "closed": no answer was given."""

    def __init__(self, number, time, region, operation, fields, request_id):
        self.number, self.time, self.region, self.operation, self.fields, self.request_id = number, time, region, operation, fields, request_id
        self.error, self.effect = "", False  # effect: it was carried out

    def names(self):
        return [self.fields[name] for name in FIELDS_OF_NAMES if isinstance(self.fields.get(name), str)]

    def as_json(self):
        return {"number": self.number, "time": self.time, "region": self.region, "operation": self.operation, "error": self.error, "effect": self.effect,
                "key": self.fields.get("KeyId") or self.fields.get("TargetKeyId"), "alias": self.fields.get("AliasName"), "request_id": self.request_id}


class Fault:
    def __init__(self, **fields):
        unknown = set(fields) - set(FIELDS)
        if unknown or fields.get("do", "error") not in DEEDS or fields.get("when", "before") not in ("before", "after"):
            raise ValueError(f"not a fault: {fields}")
        self.__dict__.update({**FIELDS, **fields})
        self.seen = 0

    def fits(self, call):
        return (self.operation in ("*", call.operation) and self.region in (None, call.region)
                and (self.about is None or any(self.about in name for name in call.names())))

    def hits(self):
        """Counts one call that fits; whether it is hit."""
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


class Faults:
    """Thread-safe."""

    def __init__(self, clock):
        self._clock, self._lock = clock, threading.Condition()
        self._faults, self._out, self._waiting, self._round, self._log, self._number = [], {}, 0, 0, [], 0

    # -- what tests set

    def add(self, **fields):
        with self._lock:
            self._faults.append(Fault(**fields))

    def out(self, region, how):
        with self._lock:
            self._out[region] = how

    def release(self):
        """What hangs goes on; the faults stay."""
        with self._lock:
            self._round += 1
            self._lock.notify_all()

    def heal(self):
        with self._lock:
            self._faults, self._out = [], {}
        self.release()

    def hanging(self):
        """How many calls hang now."""
        with self._lock:
            return self._waiting

    # -- what the server asks

    def hang(self):
        with self._lock:
            now = self._round
            self._waiting += 1
            self._lock.wait_for(lambda: self._round != now)
            self._waiting -= 1

    def region_out(self, region):
        with self._lock:
            how = self._out.get(region)
        if how == "hang":
            self.hang()
        elif how:
            raise ConnectionClosed

    def strike(self, call, when):
        """Raises ConnectionClosed or Answered, or waits, where a fault says so."""
        with self._lock:
            hit = [f for f in self._faults if f.when == when and f.fits(call) and f.hits()]
        for fault in hit:
            if fault.do == "error":
                raise Answered(fault.error)
            if fault.do == "kill":
                os.kill(fault.pid, signal.SIGKILL)
            if fault.do in ("close", "kill"):
                raise ConnectionClosed
            if fault.do == "hang":
                self.hang()
            elif fault.do == "delay":
                threading.Event().wait(fault.seconds)
            else:
                fault.hook(call)

    # -- the log

    def begin(self, region, operation, fields, request_id):
        with self._lock:
            self._number += 1
            call = Call(self._number, self._clock.now(), region, operation, fields, request_id)
            self._log.append(call)
            return call

    def log(self):
        with self._lock:
            return list(self._log)

    def forget_log(self):
        with self._lock:
            self._log = []

    def counts(self, region=None):
        """{operation: calls}"""
        return dict(collections.Counter(c.operation for c in self.log() if region in (None, c.region)))

"""What a fault is and which request it hits.

A fault is a JSON object. Which requests: "op" (name or list of names, shell globs; the X-Amz-Target's last part, the
Action of a query request, else the path), "path" (glob), "about" (a text that is in its body): all that is given; nothing means every request. The pseudo-operations
"@connect" (a connection was accepted) and "@tls" (before the TLS handshake) are hit only by faults that name them.
How often: "skip" (let the first n pass), "count" (then hit n, default all), "probability". What, in "do":

  delay       "seconds"; "where": "request" (default: before it is passed on) or "reply" (after the backend answered);
              "persist": true passes the request on though the client has given up meanwhile (a late commit)
  hang        keep the connection, never answer; ends with a reset when the fault is removed
  reset       RST
  close       FIN without an answer
  error       "status", "type" (AWS's __type), "message", "body" (any JSON value instead), "headers"
  truncate    pass on, then send only "keep" bytes of the reply's body (default: half) under its full Content-Length
  corrupt     pass on, then change the reply: "field" (dotted path into the JSON) set to "value" or, without "value",
              changed (one bit of a base64 value, else one character); without "field" one bit at "offset" (default: middle)
  stall       pass on, then hand over only "pieces" pieces of the reply's body (default: 1) and nothing more, though the
              connection stays; ends with a reset when the fault is removed
  lose_reply  pass on, wait for the backend's whole reply, then RST: the write is done and nobody was told

Delays add up, and what comes after one still applies; any other fault ends the search. Order: as they were added.
"""
import asyncio
import base64
import email.utils
import fnmatch
import json
import random
import time
import zlib

ACTIONS = {"delay", "hang", "reset", "close", "error", "truncate", "corrupt", "stall", "lose_reply"}
FIELDS = {"op", "path", "about", "skip", "count", "probability", "do", "seconds", "where", "persist", "status", "type", "message",
          "body", "headers", "keep", "field", "value", "offset", "pieces", "id"}

# What AWS sends with these; everything else is a 400.
STATUS = {"KMSInternalException": 500, "KeyUnavailableException": 500, "DependencyTimeoutException": 503,
          "InternalServerError": 500, "InternalFailure": 500, "ServiceUnavailable": 503, "RequestTimeoutException": 408}


class Fault:
    def __init__(self, ident, spec):
        unknown = set(spec) - FIELDS
        if unknown or spec.get("do") not in ACTIONS:
            raise ValueError(f"not a fault: {spec!r} (unknown: {sorted(unknown)})")
        self.ident, self.spec, self.do = ident, spec, spec["do"]
        self.ops = [spec["op"]] if isinstance(spec.get("op"), str) else spec.get("op")
        self.skip = spec.get("skip", 0)
        self.left = spec.get("count")
        self.hits = 0
        self.removed = asyncio.Event()  # ends a hang or a stall

    def takes(self, op, path, rng, payload=b""):
        if self.left == 0:
            return False
        if self.ops is None:
            if op.startswith("@"):
                return False
        elif not any(op == o if op.startswith("@") else fnmatch.fnmatchcase(op, o) for o in self.ops):
            return False
        if "path" in self.spec and not fnmatch.fnmatchcase(path, self.spec["path"]):
            return False
        if self.spec.get("about", "").encode() not in payload:
            return False
        if rng.random() >= self.spec.get("probability", 1):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        self.hits += 1
        return True

    def describe(self):
        return {**self.spec, "id": self.ident, "hits": self.hits, "left": self.left}


class FaultSet:
    def __init__(self):
        self.faults = []
        self.rng = random.Random(1)
        self._next = 1

    def add(self, spec):
        fault = Fault(self._next, spec)
        self._next += 1
        self.faults.append(fault)
        return fault

    def remove(self, ident=None):
        for fault in self.faults:
            if ident in (None, fault.ident):
                fault.removed.set()
        self.faults = [f for f in self.faults if not f.removed.is_set()]

    def pick(self, op, path, payload=b""):
        """The delays that apply, and then at most one other."""
        picked = []
        for fault in self.faults:
            if fault.takes(op, path, self.rng, payload):
                picked.append(fault)
                if fault.do != "delay":
                    break
        return picked


def error_reply(spec, clock=0):
    """clock: by so many seconds is the Date, by which AWS's clients learn that their clock is wrong, ahead of this machine's."""
    kind = spec.get("type", "InternalFailure")
    body = spec.get("body")
    if body is None:
        body = {"__type": kind, "message": spec.get("message", "injected by the test")}
    payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    status = spec.get("status", STATUS.get(kind, 400))
    fields = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "00000000-0000-0000-0000-000000000000",
              "Date": email.utils.formatdate(time.time() + clock, usegmt=True),
              **spec.get("headers", {}), "Content-Length": str(len(payload))}
    head = f"HTTP/1.1 {status} Injected\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items()) + "\r\n"
    return head.encode("latin-1") + payload


def _changed(value):
    if isinstance(value, str):
        try:
            raw = bytearray(base64.b64decode(value, validate=True))
            if raw:
                raw[len(raw) // 2] ^= 1
                return base64.b64encode(bytes(raw)).decode()
        except ValueError:
            pass
        return value[:-1] + ("x" if value[-1:] != "x" else "y")
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else None


def corrupt(spec, head, payload):
    """The reply's body as the fault wants it; head gets the length (and, for a changed field, DynamoDB's CRC) to match."""
    if "field" in spec:
        tree = json.loads(payload)
        *parents, last = spec["field"].split(".")
        node = tree
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node[name]
        last = int(last) if isinstance(node, list) else last
        node[last] = spec["value"] if "value" in spec else _changed(node[last])
        payload = json.dumps(tree).encode()
        if head.get("x-amz-crc32"):
            head.set("x-amz-crc32", str(zlib.crc32(payload)))
    else:
        raw = bytearray(payload)
        if raw:
            raw[spec.get("offset", len(raw) // 2) % len(raw)] ^= 1
        payload = bytes(raw)
    head.drop("Transfer-Encoding")
    head.set("Content-Length", str(len(payload)))
    return payload

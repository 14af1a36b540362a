"""What the proxy counts and, on request, records of each request: names and harmless values, never a plaintext."""
import asyncio
import json
import time
from urllib.parse import parse_qs

# Values that no secret can be in; of every other field only the name is kept.
OPEN_FIELDS = {"KeyId", "Key", "EncryptionContext", "KeySpec", "NumberOfBytes", "DryRun", "TableName", "ConsistentRead",
               "ConditionExpression", "ReturnValuesOnConditionCheckFailure", "ReturnValues", "Limit", "ProjectionExpression",
               "serializable", "RoleArn", "RoleSessionName", "Action"}
OPEN_HEADERS = {"host", "x-amz-target", "content-type", "content-length", "x-amz-date", "expect", "connection"}


def operation(head, payload):
    target = head.get("X-Amz-Target")
    if target:
        return target.rsplit(".", 1)[-1]
    if head.get("Content-Type").startswith("application/x-www-form-urlencoded"):
        action = parse_qs(payload.decode("latin-1")).get("Action")
        if action:
            return action[0]
    return head.path


def note(op, head, payload):
    try:
        body = json.loads(payload)
    except ValueError:
        body = {k: v[0] for k, v in parse_qs(payload.decode("latin-1")).items()}
    body = body if isinstance(body, dict) else {}
    authorization = head.get("Authorization")
    return {"op": op, "method": head.method, "path": head.path, "at": time.time(), "bytes": len(payload),
            "headers": [n.lower() for n, _ in head.fields],
            "header_values": {n.lower(): v for n, v in head.fields if n.lower() in OPEN_HEADERS},
            "fields": sorted(body), "values": {k: v for k, v in body.items() if k in OPEN_FIELDS},
            "authorization": authorization.split(", Signature=")[0] if authorization.startswith("AWS4-") else bool(authorization)}


def _row():
    return {"total": 0, "since_reset": 0, "in_flight": 0, "max_in_flight": 0, "forwarded": 0, "completed": 0, "faulted": 0}


class Stats:
    """Counts per operation and over all ("*"). `wait` lets a test wait for a count instead of sleeping."""

    def __init__(self):
        self.rows = {"*": _row()}
        self.connections = {"opened": 0, "since_reset": 0, "open": 0, "tls": 0}
        self.requests = []
        self.recording = False
        self._changed = asyncio.Event()

    def _bump(self, op, **by):
        for row in (self.rows.setdefault(op, _row()), self.rows["*"]):
            for name, amount in by.items():
                row[name] += amount
            row["max_in_flight"] = max(row["max_in_flight"], row["in_flight"])
        self.touch()

    def touch(self):
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self, op):
        self._bump(op, total=1, since_reset=1, in_flight=1)

    def end(self, op):
        self._bump(op, in_flight=-1)

    def mark(self, op, what):
        self._bump(op, **{what: 1})

    def opened(self):
        for name in ("opened", "since_reset", "open"):
            self.connections[name] += 1
        self.touch()

    def closed(self):
        self.connections["open"] -= 1
        self.touch()

    def reset(self):
        self.connections["since_reset"] = 0
        for row in self.rows.values():
            for name in ("since_reset", "forwarded", "completed", "faulted"):
                row[name] = 0
            row["max_in_flight"] = row["in_flight"]
        self.requests.clear()

    def value(self, op, field):
        if op == "connections":
            return self.connections.get(field, 0)
        return self.rows.get(op, _row()).get(field, 0)

    async def wait(self, op, field, at_least, at_most, timeout):
        deadline = asyncio.get_running_loop().time() + timeout
        while not at_least <= (now := self.value(op, field)) <= at_most:
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), max(0, deadline - asyncio.get_running_loop().time()))
            except asyncio.TimeoutError:
                return False, now
        return True, now

    def dump(self):
        return {"connections": dict(self.connections), "calls": {op: dict(row) for op, row in self.rows.items()}}

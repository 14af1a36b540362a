"""The documents by which hosts rotate keys together, as somebody sees them who can read the store (store/board.h)."""
import base64
import http.client
import json
import os
import sqlite3
import threading
import time

from .etcd_client import EtcdError, b64

PARTS = ("run", "runs", "rows", "tickets", "hosts", "pulse-0", "retire")


class Board:
    """texts(part) -> {name without the part: text}. One thread only."""

    def documents(self, part):
        return {name: json.loads(text) for name, text in self.texts(part).items()}

    def document(self, part, name):
        return self.documents(part).get(name)

    def everything(self):
        """All that stands there, as bytes."""
        return "\n".join(f"{part}/{name} {text}" for part in PARTS for name, text in self.texts(part).items()).encode()

    def runs(self):
        """{run: document}, the oldest first."""
        return dict(sorted(self.documents("runs").items()))

    def going(self):
        return [run for run, document in self.runs().items() if document["state"] != "ended"]


class SqliteBoard(Board):
    def __init__(self, path):
        self.path, self._connection = path, None

    def again(self):
        return SqliteBoard(self.path)

    def texts(self, part):
        if self._connection is None:
            if not os.path.exists(self.path):
                return {}
            self._connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)
        try:
            found = self._connection.execute("SELECT name, document FROM board WHERE name >= ? AND name < ?", (f"{part}/", f"{part}0")).fetchall()
        except sqlite3.OperationalError as e:
            if "no such table" not in str(e):
                raise
            return {}
        return {name.split("/", 1)[1]: text for name, text in found}


class EtcdBoard(Board):
    """Over one connection, round the proxies."""

    def __init__(self, cluster, prefix):
        self._cluster, self._prefix, self._connection = cluster, prefix, None

    def again(self):
        return EtcdBoard(self._cluster, self._prefix)

    def texts(self, part):
        prefix = f"{self._prefix}/board/{part}/"
        found = self._call(key=b64(prefix), range_end=b64(f"{prefix[:-1]}0"))
        pairs = {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv["value"]).decode() for kv in found.get("kvs", [])}
        return {name[len(prefix):]: value.split("\n", 1)[1] for name, value in pairs.items()}

    def _call(self, **body):
        for last in (False, True):
            if self._connection is None:
                client = self._cluster.members[0].client()
                client.range("/keyfs")  # signs in
                self._connection, self._token = client._connect(), client._token
            try:
                self._connection.request("POST", "/v3/kv/range", json.dumps(body), {"Authorization": self._token})
                reply = self._connection.getresponse()
                text = reply.read()
                if reply.status == http.client.OK:
                    return json.loads(text)
                problem = EtcdError(text.decode(errors="replace"))
            except (OSError, http.client.HTTPException) as e:
                problem = e
            self._connection.close()
            self._connection = None  # idle for too long, or the token is too old
            if last:
                raise problem


class DynamoBoard(Board):
    def __init__(self, aws, table):
        self._aws, self.table, self._client = aws, table, aws.moto.client("dynamodb", aws.regions[0].name)

    def again(self):
        return DynamoBoard(self._aws, self.table)

    def texts(self, part):
        found, start = {}, {}
        while True:
            page = self._client(
                "Query", TableName=f"{self.table}-board", ConsistentRead=True, KeyConditionExpression="#part = :part",
                ExpressionAttributeNames={"#part": "part"}, ExpressionAttributeValues={":part": {"S": part}}, **start)
            found.update({item["name"]["S"]: item["document"]["S"] for item in page["Items"] if "document" in item})
            if not page.get("LastEvaluatedKey"):
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


class Sampled:
    """Looks at all runs each 10 ms, on a thread of its own. most: how many went on at once at most; seen: the runs that went on, in the order of their beginning;
    epochs: of the documents run/head, run/now and of each run, whenever they changed. A context manager."""

    def __init__(self, board, every=0.01):
        self.most, self.looks, self.seen, self.epochs, self.failed = 0, 0, [], {}, None
        self._board, self._every, self._ended = board.again(), every, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        try:
            while not self._ended.wait(self._every):
                runs, now = self._board.runs(), self._board.documents("run")
                going = [run for run, document in runs.items() if document["state"] != "ended"]
                self.most, self.looks = max(self.most, len(going)), self.looks + 1
                self.seen += [run for run in going if run not in self.seen]
                for name, document in [*now.items(), *runs.items()]:
                    epochs = self.epochs.setdefault(name, [])
                    if not epochs or epochs[-1][1] != document["epoch"]:
                        epochs.append((time.monotonic(), document["epoch"]))
        except Exception as e:  # shown by the test's own thread
            self.failed = e

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def check(self):
        """Ends it. Never were there two runs at once, and nobody wrote after one of a higher epoch."""
        self.__exit__()
        assert self.failed is None, self.failed
        assert self.looks > 0 and self.most <= 1, f"{self.most} runs at once: {self.seen}"
        for name, epochs in self.epochs.items():
            numbers = [epoch for _, epoch in epochs]
            assert numbers == sorted(numbers), f"{name}: epochs {numbers}"

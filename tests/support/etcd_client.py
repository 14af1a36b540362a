"""etcd's JSON gateway for tests, by the standard library. https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/"""
import base64
import http.client
import json
import ssl
import time
from urllib.parse import urlsplit


class EtcdError(Exception):
    pass


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


class EtcdClient:
    def __init__(self, url, ca=None, cert=None, key=None, user=None, password=None, timeout=10):
        self._url, self._user, self._password, self._timeout, self._token = urlsplit(url), user, password, timeout, None
        self._context = None
        if self._url.scheme == "https":
            self._context = ssl.create_default_context(cafile=ca)
            if cert:
                self._context.load_cert_chain(cert, key)

    def _connect(self):
        if self._context:
            return http.client.HTTPSConnection(self._url.hostname, self._url.port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=self._timeout)

    def get(self, path):
        connection = self._connect()
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def call(self, path, **body):
        if self._user and self._token is None and path != "/v3/auth/authenticate":
            self._token = self.call("/v3/auth/authenticate", name=self._user, password=self._password)["token"]
        connection = self._connect()
        try:
            connection.request("POST", path, json.dumps(body), {"Authorization": self._token} if self._token else {})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status != 200:
            raise EtcdError(f"{path}: {reply.status} {text.decode(errors='replace').strip()}")
        return json.loads(text)

    def put(self, key, value):
        return self.call("/v3/kv/put", key=b64(key), value=b64(value))

    def range(self, key, **more):
        """The value, or None when there's no such key."""
        found = self.call("/v3/kv/range", key=b64(key), **more).get("kvs")
        return base64.b64decode(found[0]["value"]) if found else None


# What a cluster answers while it elects a leader or takes a member in, and what says that an earlier try of ours was done after all.
PASSING = ("timed out", "leader changed", "no leader", "unhealthy cluster", "not enough started members", "not capable", "stopped")
DONE = ("already exists", "already been compacted", "role is already granted", "member not found", "Peer URLs already exists")


def insist(client, path, timeout=30, **body):
    """A call of the administrator's, repeated while the cluster is in motion. Returns {} when an earlier try had been done without our hearing of it."""
    deadline, tries = time.monotonic() + timeout, 0
    while True:
        try:
            return client.call(path, **body)
        except (EtcdError, OSError) as e:
            if tries and any(word in str(e) for word in DONE):
                return {}
            passing = isinstance(e, OSError) or any(word in str(e) for word in PASSING)
            if not passing or time.monotonic() > deadline:
                raise
        tries += 1
        time.sleep(0.2)

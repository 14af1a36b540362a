"""A small AWS JSON client for tests: signs with Signature Version 4, needs nothing beyond the standard library."""
import base64
import datetime
import hashlib
import http.client
import json
import ssl
from urllib.parse import urlsplit

from .proxy import sigv4

TARGETS = {"kms": ("TrentService", "application/x-amz-json-1.1"), "dynamodb": ("DynamoDB_20120810", "application/x-amz-json-1.0")}


class AwsError(Exception):
    def __init__(self, status, kind, message):
        super().__init__(f"{status} {kind}: {message}")
        self.status, self.kind = status, kind


class AwsClient:
    """One service in one region at one endpoint. Keeps its connection. Not for several threads."""

    def __init__(self, service, region, endpoint, access_key="test", secret="test", token=None, ca_file=None, timeout=30):
        self.service, self.region = service, region
        self._keys = (access_key, secret, token)
        url = urlsplit(endpoint)
        self._netloc = url.netloc
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=ca_file)
            self._connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)

    def __call__(self, operation, **fields):
        prefix, kind = TARGETS[self.service]
        payload = json.dumps(fields).encode()
        headers = self._signed({"Host": self._netloc, "Content-Type": kind, "X-Amz-Target": f"{prefix}.{operation}"}, payload)
        try:
            self._connection.request("POST", "/", payload, headers)
            reply = self._connection.getresponse()
            body = reply.read()
        except BaseException:
            self._connection.close()
            raise
        try:
            answer = json.loads(body) if body else {}
        except ValueError:
            raise AwsError(reply.status, "not JSON", body[:200]) from None
        if reply.status != 200:
            raise AwsError(reply.status, answer.get("__type", "").rsplit("#")[-1], answer.get("message") or answer.get("Message"))
        return answer

    def _signed(self, headers, payload):
        access_key, secret, token = self._keys
        amz_date = datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")
        headers = {**headers, "X-Amz-Date": amz_date, **({"X-Amz-Security-Token": token} if token else {})}
        names = sorted(n.lower() for n in headers)
        canonical = sigv4.canonical_request("POST", "/", list(headers.items()), names, payload)
        given = sigv4.signature(secret, amz_date[:8], self.region, self.service, amz_date, canonical)
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={access_key}/{amz_date[:8]}/{self.region}/{self.service}/aws4_request, "
                                    f"SignedHeaders={';'.join(names)}, Signature={given}")
        return headers

    def close(self):
        self._connection.close()


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text)


def sha256_hex(data):
    return hashlib.sha256(data).hexdigest()

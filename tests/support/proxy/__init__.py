"""The fault proxy, seen from a test: ProxyHost is the process, Proxy one proxy in it. faults.py describes the faults."""
import http.client
import json
import sys
from urllib.parse import urlencode

from ..process import python_env, start_json, stop


class Proxy:
    """A handle on one proxy. url and tls_url are what a client is given; control is the base of its control URLs."""

    def __init__(self, host, described):
        self._host, self.name = host, described["name"]
        self.host, self.port, self.tls_port = described["host"], described["port"], described["tls_port"]
        self.url = f"http://{self.host}:{self.port}"
        self.tls_url = f"https://localhost:{self.tls_port}" if self.tls_port else None
        self.control = f"http://127.0.0.1:{host.port}/{self.name}"

    def call(self, method, path="", body=None, timeout=60):
        return self._host.call(method, f"/{self.name}{path}", body, timeout)

    def fault(self, do, **spec):
        """Adds a fault (faults.py), returns its number."""
        return self.call("POST", "/faults", {"do": do, **spec})["id"]

    def clear(self, ident=None):
        self.call("DELETE", "/faults" + (f"/{ident}" if ident is not None else ""))

    def faults(self):
        return self.call("GET", "/faults")

    def link(self, state):
        """pass; hang (nothing moves, connects succeed); refuse (no new connections); cut (and the open ones reset); blackhole
        (connects are not answered)."""
        self.call("POST", "/link", {"state": state})

    def drop(self):
        self.call("POST", "/drop")

    def certificate(self, kind):
        self.call("POST", "/certificate", {"kind": kind})

    def verify(self, keys, clock=0):
        """Which signatures are accepted from now on (sigv4.py); None: all. clock: so many seconds is AWS's clock ahead of this machine's."""
        self.call("POST", "/verify", {"keys": keys, "clock": clock})

    def stats(self):
        return self.call("GET", "/stats")

    def calls(self, op="*", field="since_reset"):
        return self.stats()["calls"].get(op, {}).get(field, 0)

    def connections(self, field="since_reset"):
        return self.stats()["connections"][field]

    def reset_stats(self):
        self.call("POST", "/stats/reset")

    def record(self, on=True):
        self.call("POST", "/record", {"on": on})

    def requests(self):
        return self.call("GET", "/requests")

    def wait(self, op="*", field="since_reset", at_least=0, at_most=1 << 62, timeout=10):
        """Returns once the count is within the bounds; AssertionError when it isn't in time."""
        query = urlencode({"op": op, "field": field, "at_least": at_least, "at_most": at_most, "timeout": timeout})
        answer = self.call("GET", f"/wait?{query}", timeout=timeout + 30)
        if not answer["met"]:
            raise AssertionError(f"{self.name}: {field} of {op} is {answer['value']}, awaited {at_least} to {at_most}")
        return answer["value"]

    def heal(self):
        """No faults, link up, good certificate, any signature, counts since reset at zero."""
        self.clear()
        self.verify(None)
        self.link("pass")
        if self.tls_port:
            self.certificate("good")
        self.reset_stats()


class ProxyHost:
    """A process that holds any number of proxies. A context manager."""

    def __init__(self):
        self.process, ready = start_json([sys.executable, "-m", "support.proxy"], env=python_env())
        self.port = ready["port"]
        self.control = f"http://127.0.0.1:{self.port}"

    def add(self, name, backend_host, backend_port, mode="http", ca=None, certificates=None, backend_tls=None, **more):
        """ca: a TestCa, which gives the proxy a TLS port with a good, an expired and a wrong_host certificate;
        certificates overrides that."""
        if ca is not None and certificates is None:
            certificates = self.certificates_of(ca)
        return Proxy(self, self.call("POST", "/", {
            "name": name, "mode": mode, "certificates": certificates, **more,
            "backend": {"host": backend_host, "port": backend_port, "tls": backend_tls}}))

    @staticmethod
    def certificates_of(ca):
        if not hasattr(ca, "proxy_certificates"):
            ca.proxy_certificates = {"good": ca.server("proxy-good"), "expired": ca.server("proxy-expired", days=-1),
                                     "wrong_host": ca.server("proxy-wrong-host", hosts=["elsewhere.invalid"])}
        return ca.proxy_certificates

    def call(self, method, path, body=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(f"proxy control: {answer.get('error')}")
        return answer

    def close(self):
        stop(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

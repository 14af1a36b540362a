"""The fault proxy does what it says, seen from plain HTTP clients."""
import base64
import http.client
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = base64.b64encode(b"not to be written down").decode()


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, body))
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"one", b"two"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
                if piece == b"one":
                    assert self.server.go_on.wait(20)
            self.wfile.write(b"0\r\n\r\n")
            return
        reply = json.dumps({"KeyId": "arn:key", "Plaintext": SECRET}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def backend():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # the proxy's resets: that's what it is for
    server.go_on = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def shared(proxy_host, backend, ca):
    return proxy_host.add("http", "127.0.0.1", backend.server_port, ca=ca)


@pytest.fixture
def proxy(shared):
    Backend.seen.clear()
    yield shared
    shared.heal()
    shared.record(False)


def connection(proxy, timeout=20):
    return http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)


def post(conn, op="Decrypt", body=b"{}", path="/"):
    conn.request("POST", path, body, {"X-Amz-Target": f"TrentService.{op}"} if op else {})
    reply = conn.getresponse()
    return reply.status, reply.read()


def test_passes_on_and_counts_over_one_kept_connection(proxy):
    conn = connection(proxy)
    for _ in range(3):
        assert json.loads(post(conn)[1])["KeyId"] == "arn:key"
    post(conn, "Encrypt")
    assert (proxy.calls("Decrypt"), proxy.calls("Encrypt"), proxy.calls(), proxy.connections()) == (3, 1, 4, 1)
    assert proxy.calls("Decrypt", "completed") == 3
    assert proxy.calls("Decrypt", "max_in_flight") == 1
    proxy.reset_stats()
    assert proxy.calls("Decrypt") == 0 and proxy.calls("Decrypt", "total") >= 3


def test_an_error_hits_only_its_operation_and_only_count_times(proxy):
    proxy.fault("error", op="Decrypt", type="ThrottlingException", count=2, skip=1)
    conn = connection(proxy)
    assert [post(conn)[0] for _ in range(4)] == [200, 400, 400, 200]
    proxy.fault("error", op="Enc*", type="KMSInternalException")
    status, body = post(conn, "Encrypt")
    assert status == 500 and json.loads(body)["__type"] == "KMSInternalException"
    assert post(conn)[0] == 200
    assert proxy.calls("Decrypt", "forwarded") == 3


def test_probability_is_repeatable(proxy):
    def run():
        proxy.call("POST", "/seed", {"seed": 7})
        return [post(conn)[0] for _ in range(30)]

    conn = connection(proxy)
    proxy.fault("error", probability=0.5)
    first = run()
    assert 500 in first and 200 in first and run() == first


def test_reset_close_and_lost_reply(proxy):
    proxy.fault("reset", op="A")
    proxy.fault("close", op="B")
    proxy.fault("lose_reply", op="C")
    with pytest.raises(ConnectionResetError):
        post(connection(proxy), "A")
    with pytest.raises(http.client.RemoteDisconnected):
        post(connection(proxy), "B")
    assert Backend.seen == []
    with pytest.raises(ConnectionResetError):
        post(connection(proxy), "C")
    assert len(Backend.seen) == 1


def test_a_hang_lasts_until_it_is_taken_away(proxy):
    fault = proxy.fault("hang", op="Decrypt")
    conn = connection(proxy, timeout=0.2)
    with pytest.raises(TimeoutError):
        post(conn)
    conn.close()
    proxy.wait("Decrypt", "in_flight", at_most=0)  # the proxy noticed that the client left
    conn = connection(proxy)
    conn.request("POST", "/", b"{}", {"X-Amz-Target": "TrentService.Decrypt"})
    proxy.wait("Decrypt", "in_flight", at_least=1)
    assert post(connection(proxy), "Encrypt")[0] == 200
    proxy.clear(fault)
    with pytest.raises(ConnectionResetError):
        conn.getresponse()
    assert len(Backend.seen) == 1


def test_a_delayed_write_of_a_client_that_left_reaches_the_backend_only_if_it_persists(proxy):
    for op, persist in (("Lost", False), ("Late", True)):
        proxy.fault("delay", op=op, seconds=0.3, persist=persist)
        conn = connection(proxy)
        conn.request("POST", "/" + op, b"{}", {"X-Amz-Target": f"X.{op}"})
        proxy.wait(op, at_least=1)
        conn.close()
        proxy.wait(op, "in_flight", at_most=0)
    proxy.wait("Late", "forwarded", at_least=1)
    assert [path for path, _ in Backend.seen] == ["/Late"]


def test_truncate_and_corrupt(proxy):
    proxy.fault("truncate", op="A", keep=5)
    with pytest.raises(http.client.IncompleteRead) as cut:
        post(connection(proxy), "A")
    assert len(cut.value.partial) == 5
    proxy.fault("corrupt", op="B", field="KeyId", value="arn:other")
    proxy.fault("corrupt", op="C", field="Plaintext")
    proxy.fault("corrupt", op="D", offset=0)
    conn = connection(proxy)
    assert json.loads(post(conn, "B")[1]) == {"KeyId": "arn:other", "Plaintext": SECRET}
    changed = json.loads(post(conn, "C")[1])["Plaintext"]
    assert changed != SECRET and len(base64.b64decode(changed)) == len(base64.b64decode(SECRET))
    assert post(conn, "D")[1][:1] == bytes([ord("{") ^ 1])


def test_streams_are_passed_on_as_they_come(proxy, backend):
    backend.go_on.clear()
    conn = connection(proxy)
    conn.request("POST", "/stream", b"{}")
    reply = conn.getresponse()
    assert reply.read(3) == b"one"
    backend.go_on.set()
    assert reply.read() == b"two"


def test_links(proxy):
    open_one = connection(proxy)
    post(open_one)
    proxy.link("refuse")
    with pytest.raises(ConnectionRefusedError):
        post(connection(proxy))
    assert post(open_one)[0] == 200
    proxy.link("pass")
    assert post(connection(proxy))[0] == 200
    proxy.link("cut")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
        post(open_one)
    proxy.link("blackhole")
    with pytest.raises(TimeoutError):
        socket.create_connection((proxy.host, proxy.port), timeout=0.3)
    proxy.link("hang")
    slow = connection(proxy)
    slow.request("POST", "/", b"{}")
    slow.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        slow.sock.recv(1)
    proxy.link("pass")
    slow.sock.settimeout(20)
    assert slow.getresponse().status == 200


def test_connection_faults(proxy):
    proxy.fault("reset", op="@connect", count=1)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        post(connection(proxy))
    assert post(connection(proxy))[0] == 200


def test_tls_with_good_and_bad_certificates(proxy, ca):
    def tls(timeout=20):
        context = ssl.create_default_context(cafile=ca.ca_file)
        return http.client.HTTPSConnection("localhost", proxy.tls_port, context=context, timeout=timeout)

    assert post(tls())[0] == 200
    for kind in ("expired", "wrong_host"):
        proxy.certificate(kind)
        with pytest.raises(ssl.SSLCertVerificationError):
            post(tls())
    proxy.certificate("good")
    proxy.fault("hang", op="@tls", count=1)
    with pytest.raises(TimeoutError):
        post(tls(timeout=0.2))
    assert post(tls())[0] == 200
    conn = tls()
    post(conn)
    proxy.fault("reset", op="Decrypt")
    with pytest.raises(ConnectionResetError):
        post(conn)


def test_notes_name_fields_and_never_their_secret_values(proxy):
    proxy.record()
    post(connection(proxy), body=json.dumps({"KeyId": "alias/keyfs", "EncryptionContext": {"a": "b"}, "Plaintext": SECRET}).encode())
    noted = proxy.requests()
    assert noted[0]["op"] == "Decrypt" and noted[0]["fields"] == ["EncryptionContext", "KeyId", "Plaintext"]
    assert noted[0]["values"] == {"KeyId": "alias/keyfs", "EncryptionContext": {"a": "b"}}
    assert SECRET not in json.dumps(noted)


def test_raw_tcp_passes_hangs_and_cuts(proxy_host, backend):
    raw = proxy_host.add("raw", "127.0.0.1", backend.server_port, mode="tcp")
    conn = connection(raw)
    assert post(conn)[0] == 200
    raw.link("hang")
    conn.request("POST", "/", b"{}")
    conn.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        conn.sock.recv(1)
    raw.link("pass")
    conn.sock.settimeout(20)
    assert conn.getresponse().read()
    raw.link("cut")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
        post(conn)
    with pytest.raises(ConnectionRefusedError):
        post(connection(raw))


def test_an_unknown_fault_or_proxy_is_an_error(proxy):
    with pytest.raises(ValueError):
        proxy.fault("explode")
    with pytest.raises(ValueError):
        proxy.fault("delay", secnds=3)

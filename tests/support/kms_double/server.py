"""The double over HTTP: one port per region or one for all, AWS JSON 1.1, signatures checked; and the control port."""
import json
import socket
import socketserver
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler

from ..proxy import sigv4
from .errors import KmsError, status_of
from .faults import Answered, ConnectionClosed

CONTENT_TYPE = "application/x-amz-json-1.1"


class _Head:
    """A request's head as sigv4.check() reads it."""

    def __init__(self, method, start, fields):
        self.method, self.start, self.fields = method, start, fields

    def get(self, name):
        return next((v for n, v in self.fields if n.lower() == name.lower()), "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of a reply in one segment

    def log_message(self, *_):
        pass

    def send(self, status, body, content_type, headers=()):
        self.send_response_only(status)
        for name, value in (("Content-Type", content_type), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def handle_expect_100(self):
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class KmsHandler(_Handler):
    def do_POST(self):
        payload, request_id = self.body(), str(uuid.uuid4())
        try:
            status, answer = self.server.answer(self, payload, request_id)
        except ConnectionClosed:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        # Operations that return nothing are answered with an empty body, not with an empty object.
        self.send(status, json.dumps(answer).encode() if answer else b"", CONTENT_TYPE, [("x-amzn-RequestId", request_id)])

    def do_GET(self):
        """What keeps connections warm; AWS answers it too."""
        self.body()
        self.send(200, b"healthy", "text/plain")


class ControlHandler(_Handler):
    """GET /log, /counts?REGION, /keys?REGION, /orphans?REGION, /hanging, /ports; POST /fault, /heal, /release, /out, /advance, /creating, /call, /forget_log, /reset with JSON."""

    def do_GET(self):
        self._reply(None)

    def do_POST(self):
        payload = self.body()
        self._reply(json.loads(payload) if payload else {})

    def _reply(self, fields):
        name, _, query = self.path.lstrip("/").partition("?")
        try:
            answer = self.server.control(name, query, fields)
            status = 200
        except KmsError as e:
            status, answer = e.status, {"__type": e.kind, "message": e.message}
        except (ValueError, TypeError, KeyError) as e:
            status, answer = 400, {"message": repr(e)}
        self.send(status, json.dumps(answer).encode(), "application/json")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, block_on_close = True, True, False
    request_queue_size = 256

    def __init__(self, port, handler):
        self._open, self._guard = set(), threading.Lock()
        super().__init__(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self):
        return self.server_address[1]

    def process_request(self, request, address):
        with self._guard:
            self._open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request):
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, address):
        """A client that left is none; anything else is a bug of the double, and told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, address)

    def close(self):
        """No listener and no connection is left."""
        self.shutdown()
        self.server_close()
        with self._guard:
            left = list(self._open)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class KmsServer(_Server):
    """region None: that of each request's credential scope."""

    def __init__(self, double, region, port=0):
        self.double, self.region = double, region
        super().__init__(port, KmsHandler)

    def answer(self, handler, payload, request_id):
        """(status, body) or ConnectionClosed"""
        double, region = self.double, self.region
        if region:
            double.faults.region_out(region)
        head = _Head("POST", handler.requestline, [(n, v) for n, v in handler.headers.items()])
        refused = sigv4.check(double.credentials, head, payload) if double.credentials is not None else None
        scope = head.get("Authorization").partition("Credential=")[2].split("/")
        named = scope[2] if len(scope) > 4 else None
        if not refused and named and (named not in double.regions if region is None else named != region):
            refused = {"type": "InvalidSignatureException", "message": f"Credential should be scoped to a valid region, not '{named}'."}
        if refused:
            return 400, {"__type": refused["type"], "message": refused["message"]}
        if region is None:
            region = named or double.regions[0]
            double.faults.region_out(region)
        prefix, _, operation = head.get("X-Amz-Target").partition(".")
        if prefix != "TrentService" or not head.get("Content-Type").startswith(CONTENT_TYPE):
            return 400, {"__type": "UnknownOperationException"}
        try:
            fields = json.loads(payload)
            if not isinstance(fields, dict):
                raise ValueError("not an object")
        except ValueError:
            return 400, {"__type": "SerializationException"}
        return self._carry_out(region, operation, fields, request_id)

    def _carry_out(self, region, operation, fields, request_id):
        double = self.double
        call = double.faults.begin(region, operation, fields, request_id)
        call.error = "closed"  # unless it is answered
        try:
            double.faults.strike(call, "before")
            answer = double.operations.perform(region, operation, fields)
            call.effect = True
            double.faults.strike(call, "after")
        except KmsError as e:
            call.error = e.kind
            return e.status, {"__type": e.kind, **({"message": e.message} if e.message is not None else {})}
        except Answered as e:
            call.error = e.kind
            return status_of(e.kind), {"__type": e.kind, "message": "as the test wants it"}
        call.error = None
        return 200, answer


class ControlServer(_Server):
    def __init__(self, double, port=0):
        self.double = double
        super().__init__(port, ControlHandler)

    def control(self, name, query, fields):
        double = self.double
        if fields is None:
            if name == "log":
                return [call.as_json() for call in double.log()]
            if name == "counts":
                return double.counts(query or None)
            if name == "keys":
                return double.keys(query or None)
            if name == "orphans":
                return double.orphans(query or None)
            if name == "hanging":
                return double.faults.hanging()
            if name == "ports":
                return double.ports()
            raise ValueError(f"no such thing: {name}")
        deeds = {"fault": double.fault, "heal": double.heal, "release": double.release, "out": double.out, "advance": double.advance,
                 "creating": double.set_creating, "forget_log": double.forget_log, "reset": double.reset}
        if name == "call":
            return double.call(fields["region"], fields["operation"], **fields.get("fields", {}))
        deeds[name](**fields)
        return {}

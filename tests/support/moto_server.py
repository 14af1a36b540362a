"""The moto process: `python -m support.moto_server` (a Python that has moto[server]) prints {"port": N} and serves AWS.

Not `moto_server` itself: that one leaves Nagle's algorithm on, which costs 40 ms per reply on a kept connection, logs every
request, and can't report a port of the system's choosing."""
import io
import json
import logging
import sys
import threading
import traceback

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import moto_fixes


class Handler(MotoRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of a reply in one segment
    protocol_version = "HTTP/1.1"

    def log_request(self, code="-", size="-"):
        pass


def one_at_a_time(app):
    """AWS decides a condition and writes in one step; moto looks first and writes then, so that of two threads both may win."""
    lock = threading.Lock()

    def call(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # a slow client holds up itself alone
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            return list(app(environ, start_response))

    return call


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto_fixes.apply()
    app = one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    server.handle_error = lambda *_: None if isinstance(sys.exc_info()[1], ConnectionError) else traceback.print_exc()  # a client that left
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdout = sys.stderr
    server.serve_forever()


if __name__ == "__main__":
    main()

"""Where messages go: a small HTTP server that keeps what was posted to it."""
import http.server
import json
import threading


class Webhook:
    """url is what webhook_file names. answer: the status of its answers. A context manager."""

    def __init__(self):
        self.bodies, self.all, self.answer = [], [], 200
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                webhook.all.append(body)
                webhook.bodies.append(body)
                self.send_response(webhook.answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/T000/B000/not-to-be-told"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def texts(self, run=None):
        """The messages so far, or those that name this run."""
        texts = [json.loads(body)["text"] for body in list(self.bodies)]
        return [text for text in texts if run is None or f"run {run} " in text]

    def forget(self):
        """`all` keeps them."""
        self.bodies.clear()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

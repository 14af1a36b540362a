"""An HTTP/2 endpoint (TLS, ALPN h2) before any HTTP/1.1 one: nginx. The fault proxy speaks HTTP/1.1 only; put this before it, to see whether a client multiplexes.
A fault that ends the proxy's connection shows here as a 502."""
import os
import socket
import subprocess
import tempfile

from .process import StartError, eventually, spawn, stop


class Http2Front:
    """A context manager. url is https://localhost:<port>; backend is "http://host:port". connections() counts those that clients opened."""

    def __init__(self, backend, ca, folder=None):
        self._folder = tempfile.TemporaryDirectory(prefix="keyfs-http2-", dir=folder)
        base = self._folder.name
        cert, key = ca.server("http2")
        # Bound, not listening, and shared: the port stays ours until nginx has it.
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._bound.bind(("127.0.0.1", 0))
        self.port = self._bound.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        config = os.path.join(base, "nginx.conf")
        with open(config, "w") as f:
            f.write(f"""daemon off; master_process off; pid {base}/pid; error_log {base}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  log_format c '$connection'; access_log {base}/requests.log c;
  client_body_temp_path {base}/b; proxy_temp_path {base}/p; fastcgi_temp_path {base}/f; uwsgi_temp_path {base}/u; scgi_temp_path {base}/s;
  upstream backend {{ server {backend.split("//")[1]}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{self.port} ssl http2 reuseport; ssl_certificate {cert}; ssl_certificate_key {key}; http2_max_concurrent_streams 256;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }}
  }}
}}
""")
        self.process = spawn(["nginx", "-p", base, "-c", config], stderr=subprocess.DEVNULL)
        eventually(self._up, 20, "nginx listens")

    def _up(self):
        if self.process.poll() is not None:
            raise StartError(f"nginx ended with {self.process.returncode}: {open(os.path.join(self._folder.name, 'error.log')).read()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def connections(self):
        """How many client connections have carried requests so far."""
        with open(os.path.join(self._folder.name, "requests.log")) as f:
            return len(set(f))

    def close(self):
        stop(self.process)
        self._bound.close()
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

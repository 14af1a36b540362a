#!/usr/bin/env python3
"""Runs a command with a three-member etcd cluster (TLS, auth), each member behind a TCP and an HTTP fault proxy.

usage: with_etcd.py -- COMMAND [ARGUMENTS]
The command finds everything in environment variables, and acts upon members by POST to KEYFS_TEST_ETCD_MEMBERS: README.md."""
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import launcher  # noqa: E402
from support.etcd import EtcdCluster  # noqa: E402

MEMBER_VERBS = {"kill": lambda m: m.kill(), "pause": lambda m: m.pause(), "resume": lambda m: m.resume(), "restart": lambda m: m.restart(),
                "wipe": lambda m: m.restart(wipe=True), "stranger": lambda m: m.restart_as_stranger(), "cut_peers": lambda m: m.cut_peers(),
                "join_peers": lambda m: m.join_peers(), "defrag": lambda m: m.defrag(), "await_healthy": lambda m: m.await_healthy()}
CLUSTER_VERBS = {"heal": lambda c: c.heal(), "compact": lambda c: c.compact(), "defrag": lambda c: c.defrag(),
                 "leader": lambda c: {"leader": c.leader().number}}


def handler_for(cluster):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            *number, verb = self.path.strip("/").split("/")
            try:
                answer = MEMBER_VERBS[verb](cluster.members[int(number[0]) - 1]) if number else CLUSTER_VERBS[verb](cluster)
                status, answer = 200, answer or {}
            except (KeyError, ValueError, IndexError):
                status, answer = 404, {"error": f"no such verb or member: {self.path}"}
            except Exception as e:  # whatever went wrong is the caller's to see
                status, answer = 500, {"error": str(e)}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


def main():
    argv = launcher.command(sys.argv)
    with EtcdCluster() as cluster:
        # The server runs in the main thread, since members are restarted from it (see process.py); the command is
        # started here too, and only waited for elsewhere.
        server = HTTPServer(("127.0.0.1", 0), handler_for(cluster))
        env = {**cluster.environment(), "KEYFS_TEST_ETCD_MEMBERS": f"http://127.0.0.1:{server.server_port}"}
        with launcher.started(argv, env) as process:
            def watch():
                process.wait()
                server.shutdown()

            threading.Thread(target=watch, daemon=True).start()
            server.serve_forever(poll_interval=0.02)
        return launcher.exit_code(process)


if __name__ == "__main__":
    sys.exit(main())

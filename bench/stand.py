"""The servers that the benchmarks measure: each starts, answers, and leaves nothing behind."""

import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

KEY_ARN = "arn:aws:kms:{region}:111122223333:key/11111111-2222-3333-4444-555555555555"


class Failed(Exception):
    """A benchmark that can't run here; the text says why."""


def wait_until(ready, what, seconds=20):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise Failed(f"{what} did not come up within {seconds} s")
        time.sleep(0.002)


def unmount(path):
    for _ in range(50):
        if not os.path.ismount(path):
            return
        if subprocess.run(["umount", path], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", path], capture_output=True)


class Stand:
    """Everything that runs, and the folder that it works in. Ends it all on exit."""

    def __init__(self, build, work):
        self.build = pathlib.Path(build).resolve()
        self.work = pathlib.Path(work).resolve()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(list(self.running)):
            server.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def tool(self, name):
        return str(self.build / "bench" / name)

    def folder(self, name):
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def keyfs(self, name, **options):
        return Keyfs(self, name, **options)

    def null_fs(self, keys=1, name="null", way=None):
        return NullFs(self, keys, name, way)


class Server:
    def __init__(self, stand):
        self.stand = stand
        self.pid = 0
        stand.running.append(self)

    def stop(self):
        if self in self.stand.running:
            self.stand.running.remove(self)
            self.end()

    def end(self):
        raise NotImplementedError


class Process(Server):
    """A server in the foreground."""

    def __init__(self, stand, command, **options):
        super().__init__(stand)
        self.process = subprocess.Popen(command, **options)
        self.pid = self.process.pid

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NullFs(Process):
    def __init__(self, stand, keys, name, way):
        self.mount = stand.folder(f"mount-{name}")
        super().__init__(stand, [stand.tool("null_fs"), str(self.mount), str(keys), *([way] if way else [])])
        wait_until(lambda: os.path.ismount(self.mount), "null_fs")

    def end(self):
        unmount(self.mount)
        super().end()


def embedded_config(state, more=""):
    """What --embedded STATE stands for, so that settings can be added."""
    regions = "".join(f"[region local-{r}]\ntype = local\nkey_file = {state}/masters/local-{r}.key\n" for r in "abc")
    return (f"[keyfs]\nstate_dir = {state}/state\ncreates_per_second = 100000\n{more}\n[store]\ntype = sqlite\npath = {state}/keys.db\n"
            f"{regions}[keys *]\nread = any\ncreate = any\nadmin = uid:0\n[admin]\nread = uid:0\n")


class Keyfs(Server):
    """`keyfs mount`. With `config`, of that file's text;
    otherwise --embedded. The state outlives it, so that a cold daemon is a second one."""

    def __init__(self, stand, name, config=None, environment=None, state=None):
        super().__init__(stand)
        self.state = state or stand.folder(f"state-{name}")
        self.mount = stand.folder(f"mount-{name}")
        self.command = [str(stand.build / "fs" / "keyfs"), "mount", "-f"]
        if config is None:
            self.command += ["--embedded", str(self.state)]
        else:
            file = self.state / "keyfs.ini"
            file.write_text(config.replace("STATE", str(self.state)))
            self.command += ["-c", str(file)]
        self.command.append(str(self.mount))
        self.environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self):
        """In the foreground, in the session of the other servers: with a session of its own, the kernel would
        schedule it as another group than what it is measured against."""
        log = open(self.state.parent / f"{self.mount.name}.log", "w+")
        self.process = subprocess.Popen(self.command, env=self.environment, stderr=log)
        self.pid = self.process.pid
        try:
            wait_until(lambda: os.path.ismount(self.mount) or self.process.poll() is not None, "keyfs mount")
            if self.process.poll() is not None:
                log.seek(0)
                raise Failed(f"keyfs mount: {log.read().strip()}")
        except Failed:
            self.stop()
            raise

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        unmount(self.mount)

    def restart(self):
        self.end()
        self.start()

    def status(self):
        return json.loads((self.mount / ".keyfs" / "status").read_text())

    def memory(self):
        """Bytes: resident, locked."""
        found = {}
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmLck"):
                found[name] = int(value.split()[0]) * 1024
        return found["VmRSS"], found["VmLck"]


class Tmpfs(Server):
    def __init__(self, stand, keys, name="tmpfs"):
        super().__init__(stand)
        self.mount = stand.folder(f"mount-{name}")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(self.mount)], check=True)
        for i in range(keys):
            (self.mount / f"key-{i}").write_bytes(os.urandom(32))

    def end(self):
        unmount(self.mount)


class Socket(Process):
    def __init__(self, stand):
        path = stand.folder("socket") / "s"
        super().__init__(stand, [stand.tool("read_server"), str(path)])
        wait_until(path.exists, "read_server")
        self.target = f"unix:{path}"


class Nginx(Process):
    """Loopback HTTPS: nginx, TLS 1.3, connections kept, the files on tmpfs."""

    CONFIG = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; open_file_cache max=20000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl; server_name localhost;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.3; root {root};
  }}
}}
"""

    def __init__(self, stand, root, port=18443):
        folder = stand.folder("nginx")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True, capture_output=True)
        (folder / "conf").write_text("user root;" + self.CONFIG.format(folder=folder, port=port, root=root))
        super().__init__(stand, ["nginx", "-p", str(folder), "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
        self.ca = str(folder / "cert.pem")
        self.target = f"https://localhost:{port}"
        probe = ["openssl", "s_client", "-connect", f"localhost:{port}"]
        wait_until(lambda: subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0,
                   "nginx")


class FakeAws(Process):
    """KMS in `regions` and a DynamoDB table, as bench/fake_aws.cc has them."""

    def __init__(self, stand, regions):
        self.regions = regions
        services = [f"kms:{region}" for region in regions] + [f"dynamodb:{regions[0]}"]
        super().__init__(stand, [stand.tool("fake_aws"), *services], stdout=subprocess.PIPE, text=True)
        self.ports = json.loads(self.process.stdout.readline())

    def post(self, service, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[service]}{path}",
                                         json.dumps(body).encode(), {"Content-Length": str(len(json.dumps(body)))})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
            return json.load(reply)

    def control(self, service=None, **fields):
        for name in [service] if service else self.ports:
            self.post(name, "/control", fields)

    def counts(self):
        """Calls by operation over all services; those that only keep a connection warm left out."""
        total = {}
        for service in self.ports:
            for operation, calls in self.post(service, "/counts", {}).items():
                if operation:
                    total[operation] = total.get(operation, 0) + calls
        return total

    def region_arguments(self):
        arguments = ["--dynamodb", str(self.ports[f"dynamodb:{self.regions[0]}"])]
        for region in self.regions:
            arguments += ["--kms", f"{region}={self.ports[f'kms:{region}']}"]
        return arguments

    def config(self, store="dynamodb", more=""):
        """For Keyfs(config=...), with environment()."""
        text = f"[keyfs]\nstate_dir = STATE\naudit = STATE/audit.jsonl\ncreates_per_second = 100000\n{more}\n[store]\n"
        if store == "dynamodb":
            home = self.regions[0]
            text += (f"type = dynamodb\ntable = keyfs\nregions = {home}\n"
                     f"endpoint = http://127.0.0.1:{self.ports[f'dynamodb:{home}']}\n")
        else:
            text += "type = sqlite\npath = STATE/keys.db\n"
        for region in self.regions:
            text += (f"[region {region}]\ntype = aws\nkey = {KEY_ARN.format(region=region)}\n"
                     f"endpoint = http://127.0.0.1:{self.ports[f'kms:{region}']}\n")
        return text + "[keys *]\nread = any\ncreate = any\nadmin = uid:0\n[admin]\nread = uid:0\n"

    @staticmethod
    def environment():
        return {"AWS_ACCESS_KEY_ID": "AKIDBENCH", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true"}

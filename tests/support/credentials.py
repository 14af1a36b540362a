"""The endpoints from which AWS programs get credentials on EC2, ECS and EKS, as real HTTP servers in a process of their own:
  IMDSv2                 docs.aws.amazon.com, EC2 user guide, "Use IMDSv2"
  ECS task credentials   Amazon ECS developer guide, "task IAM role" (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, ..._FULL_URI)
  EKS Pod Identity       EKS user guide, "Pod Identity" (AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)
  STS                    AssumeRoleWithWebIdentity and AssumeRole, the API reference (moto's own is behind aws.Aws.sts)
`python -m support.credentials` prints {"port": N, "control": M}; the control port takes JSON, see Server.control."""
import datetime
import http.client
import json
import os
import secrets
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from .process import python_env, start_json, stop

TOKEN_TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
ROLE = "keyfs-test-role"


class Server:
    """State of all endpoints. The credentials handed out are new at each `rotate`, or as soon as they're within 5 minutes of their end, as AWS does it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.settings = {"lifetime": 3600, "fail": {}, "ecs_token": None, "pod_token": "pod token 1", "web_identity_token": "web identity token 1"}
        self.counts = {}
        self.imds_tokens = {}  # token -> time.monotonic() of its end
        self.issued = []
        self.rotate()

    def rotate(self):
        self.current = self.issue()

    def issue(self):
        end = datetime.datetime.utcnow() + datetime.timedelta(seconds=self.settings["lifetime"])
        made = {"AccessKeyId": "ASIA" + secrets.token_hex(8).upper(), "SecretAccessKey": secrets.token_urlsafe(30), "Token": secrets.token_urlsafe(200),
                "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"), "ends": end.timestamp()}
        self.issued.append(made)
        return made

    def credentials(self):
        now = datetime.datetime.utcnow().timestamp()
        if self.current["ends"] - now < min(300, self.settings["lifetime"] / 2):
            self.rotate()
        return {k: v for k, v in self.current.items() if k != "ends"}

    def control(self, verb, body):
        """settings {..}: lifetime (seconds of the credentials), fail {endpoint: status} (imds_token, imds, ecs, pod, sts), ecs_token (what an ECS request's
        Authorization must be; null: anything), pod_token, web_identity_token (what must be presented). rotate. counts. reset. issued (for a proxy's
        `verify`: {access key id: {secret, token}}; the ones that expired carry the error)."""
        if verb == "settings":
            unknown = set(body) - set(self.settings)
            if unknown:
                raise ValueError(f"no such settings: {sorted(unknown)}")
            self.settings.update(body)
            self.rotate()
        elif verb == "rotate":
            self.rotate()
        elif verb == "reset":
            self.__init__()
        elif verb == "counts":
            return self.counts
        elif verb == "issued":
            now = datetime.datetime.utcnow().timestamp()
            return {c["AccessKeyId"]: {"secret": c["SecretAccessKey"], "token": c["Token"], **({"error": "ExpiredTokenException"} if c["ends"] < now else {})}
                    for c in self.issued}
        else:
            raise ValueError(f"no verb {verb}")
        return {}

    # -- the endpoints: each returns (status, content type, text, headers)

    def answer(self, method, path, headers, body):
        url = urlsplit(path)
        if url.path == "/latest/api/token":
            return self.count("imds_token") or self.imds_token(method, headers)
        if url.path.startswith("/latest/"):
            return self.count("imds") or self.imds(url.path, headers)
        if url.path.startswith("/v2/credentials/"):
            return self.count("ecs") or self.container(headers, self.settings["ecs_token"], with_role=True)
        if url.path == "/v1/credentials":
            return self.count("pod") or self.container(headers, self.settings["pod_token"], with_role=False)
        if method == "POST" and url.path == "/":
            return self.count("sts") or self.sts({k: v[0] for k, v in parse_qs(body.decode()).items()}, headers)
        return 404, "text/plain", "not found", {}

    def count(self, endpoint):
        self.counts[endpoint] = self.counts.get(endpoint, 0) + 1
        status = self.settings["fail"].get(endpoint)
        return (status, "text/plain", "injected by the test", {}) if status else None

    def imds_token(self, method, headers):
        if method != "PUT":
            return 405, "text/plain", "Method Not Allowed", {"Allow": "OPTIONS, PUT"}
        seconds = headers.get(TOKEN_TTL, "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            return 400, "text/plain", "Bad Request", {}
        if headers.get("X-Forwarded-For"):
            return 403, "text/plain", "Forbidden", {}
        token = secrets.token_urlsafe(40)
        self.imds_tokens[token] = time.monotonic() + int(seconds)
        return 200, "text/plain", token, {TOKEN_TTL: seconds}

    def imds(self, path, headers):
        if self.imds_tokens.get(headers.get(TOKEN), 0) < time.monotonic():
            return 401, "text/html", "Unauthorized", {}
        base = "/latest/meta-data/iam/security-credentials/"
        if path in (base, base[:-1]):
            return 200, "text/plain", ROLE, {}
        if path == base + ROLE:
            now = datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ")
            return 200, "text/plain", json.dumps({"Code": "Success", "LastUpdated": now, "Type": "AWS-HMAC", **self.credentials()}), {}
        if path == "/latest/meta-data/placement/region":
            return 200, "text/plain", "us-east-1", {}
        if path == "/latest/dynamic/instance-identity/document":
            return 200, "text/plain", json.dumps({"region": "us-east-1", "accountId": "123456789012"}), {}
        return 404, "text/html", "Not Found", {}

    def container(self, headers, wanted, with_role):
        if wanted is not None and headers.get("Authorization") != wanted:
            return 401, "application/json", json.dumps({"code": "AccessDenied", "message": "Authorization token is invalid"}), {}
        role = {"RoleArn": f"arn:aws:iam::123456789012:role/{ROLE}"} if with_role else {"AccountId": "123456789012"}
        return 200, "application/json", json.dumps({**role, **self.credentials()}), {}

    def sts(self, form, headers):
        action = form.get("Action")
        if form.get("Version") != "2011-06-15":
            return self.sts_error(400, "InvalidAction", "Could not find operation for the version")
        if not form.get("RoleArn", "").startswith("arn:aws:iam::") or not form.get("RoleSessionName"):
            return self.sts_error(400, "ValidationError", "RoleArn and RoleSessionName are required")
        if action == "AssumeRoleWithWebIdentity":
            if headers.get("Authorization"):
                return self.sts_error(400, "InvalidClientTokenId", "this action is not signed")
            if form.get("WebIdentityToken") != self.settings["web_identity_token"]:
                return self.sts_error(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account")
        elif action == "AssumeRole":
            if not headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
                return self.sts_error(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        else:
            return self.sts_error(400, "InvalidAction", f"Could not find operation {action}")
        made = self.credentials()
        fields = "".join(f"<{name}>{escape(made[key])}</{name}>" for name, key in (("AccessKeyId", "AccessKeyId"), ("SecretAccessKey", "SecretAccessKey"),
                                                                                  ("SessionToken", "Token"), ("Expiration", "Expiration")))
        text = (f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>{fields}</Credentials><AssumedRoleUser>'
                f"<Arn>{escape(form['RoleArn'])}/{escape(form['RoleSessionName'])}</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser></{action}Result>"
                f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>")
        return 200, "text/xml", text, {}

    @staticmethod
    def sts_error(status, code, message):
        return status, "text/xml", ('<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                                    f"<Code>{code}</Code><Message>{escape(message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"), {}


def handler_for(answer):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, text, headers = answer(self.command, self.path, self.headers, body)
            payload = text.encode()
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(payload)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_PUT = do_POST = handle_any

        def log_message(self, *_):
            pass

    return Handler


def main():
    server = Server()

    def locked(*request):
        with server.lock:
            return server.answer(*request)

    def control(method, path, headers, body):
        with server.lock:
            try:
                return 200, "application/json", json.dumps(server.control(path.strip("/"), json.loads(body or b"{}"))), {}
            except ValueError as e:
                return 400, "application/json", json.dumps({"error": str(e)}), {}

    public = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(locked))
    private = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(control))
    threading.Thread(target=private.serve_forever, daemon=True).start()
    print(json.dumps({"port": public.server_port, "control": private.server_port}), flush=True)
    sys.stdout = sys.stderr
    public.serve_forever()


class Credentials:
    """The process, seen from a test. A context manager. url is for AWS_EC2_METADATA_SERVICE_ENDPOINT and AWS_ENDPOINT_URL_STS; ecs_uri and pod_uri are for
    AWS_CONTAINER_CREDENTIALS_FULL_URI; pod_token_file and web_identity_token_file hold what the servers ask for."""

    def __init__(self, folder):
        self.process, ready = start_json([sys.executable, "-m", "support.credentials"], env=python_env())
        self.port, self._control = ready["port"], ready["control"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.control = f"http://127.0.0.1:{self._control}"
        self.ecs_uri, self.pod_uri = f"{self.url}/v2/credentials/{uuid.uuid4()}", f"{self.url}/v1/credentials"
        self.pod_token_file, self.web_identity_token_file = (os.path.join(str(folder), n) for n in ("pod-token", "web-identity-token"))
        self.set_pod_token("pod token 1")
        self.set_web_identity_token("web identity token 1")

    def call(self, verb, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=20)
        try:
            connection.request("POST", "/" + verb, json.dumps(body))
            reply = connection.getresponse()
            answer = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(answer["error"])
        return answer

    def set_pod_token(self, token):
        """What the pod identity endpoint asks for from now on, and what is in the file."""
        self._write(self.pod_token_file, token)
        self.call("settings", pod_token=token)

    def set_web_identity_token(self, token):
        self._write(self.web_identity_token_file, token)
        self.call("settings", web_identity_token=token)

    @staticmethod
    def _write(path, text):
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def environment(self):
        return {"KEYFS_TEST_CREDENTIALS": self.url, "KEYFS_TEST_CREDENTIALS_CONTROL": self.control, "KEYFS_TEST_ECS_URI": self.ecs_uri,
                "KEYFS_TEST_POD_URI": self.pod_uri, "KEYFS_TEST_POD_TOKEN_FILE": self.pod_token_file,
                "KEYFS_TEST_WEB_IDENTITY_TOKEN_FILE": self.web_identity_token_file}

    def close(self):
        stop(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__":
    main()

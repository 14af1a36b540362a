"""The credential endpoints, tried with botocore as their client, and what they refuse."""
import http.client
import json
import os
import subprocess
import sys
from urllib.parse import urlencode

import pytest
from botocore.credentials import create_credential_resolver
from botocore.session import Session

from .aws_client import AwsClient, AwsError
from .credentials import TOKEN, TOKEN_TTL, Credentials


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Credentials(tmp_path_factory.mktemp("credentials")) as parts:
        yield parts


@pytest.fixture
def parts(shared, monkeypatch):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    shared.call("reset")
    shared.set_pod_token("pod token 1")
    shared.set_web_identity_token("web identity token 1")
    return shared


def resolve():
    """What botocore finds: (access key id, secret, token) and the provider's name."""
    found = create_credential_resolver(Session()).load_credentials()
    frozen = found.get_frozen_credentials()
    return (frozen.access_key, frozen.secret_key, frozen.token), found.method


def issued(parts):
    return {(k, v["secret"], v["token"]) for k, v in parts.call("issued").items()}


def ask(parts, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def test_botocore_gets_credentials_by_every_way(parts, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", parts.url)
    found, how = resolve()
    assert how == "iam-role" and found in issued(parts)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", parts.ecs_uri)
    found, how = resolve()
    assert how == "container-role" and found in issued(parts)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", parts.pod_uri)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", parts.pod_token_file)
    parts.set_pod_token("pod token 2")
    assert resolve()[0] in issued(parts)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", parts.web_identity_token_file)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", parts.url)
    found, how = resolve()
    assert how == "assume-role-with-web-identity" and found in issued(parts)
    assert parts.call("counts") == {"imds_token": 1, "imds": 2, "ecs": 1, "pod": 1, "sts": 1}


def test_imds_refuses_version_1_and_tokens_that_are_wrong_or_old(parts):
    path = "/latest/meta-data/iam/security-credentials/"
    assert ask(parts, "GET", path)[0] == 401
    assert ask(parts, "GET", path, {TOKEN: "made up"})[0] == 401
    assert ask(parts, "GET", "/latest/api/token")[0] == 405
    assert ask(parts, "PUT", "/latest/api/token")[0] == 400
    assert ask(parts, "PUT", "/latest/api/token", {TOKEN_TTL: "21601"})[0] == 400
    assert ask(parts, "PUT", "/latest/api/token", {TOKEN_TTL: "60", "X-Forwarded-For": "10.0.0.1"})[0] == 403
    status, token = ask(parts, "PUT", "/latest/api/token", {TOKEN_TTL: "60"})
    assert status == 200 and ask(parts, "GET", path, {TOKEN: token}) == (200, "keyfs-test-role")


def test_pod_identity_needs_the_token_of_now(parts):
    assert ask(parts, "GET", "/v1/credentials")[0] == 401
    assert ask(parts, "GET", "/v1/credentials", {"Authorization": "pod token 1"})[0] == 200
    parts.set_pod_token("pod token 2")
    assert ask(parts, "GET", "/v1/credentials", {"Authorization": "pod token 1"})[0] == 401
    assert open(parts.pod_token_file).read() == "pod token 2"


def test_sts_checks_version_token_and_form(parts):
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::1:role/r", "RoleSessionName": "s",
            "WebIdentityToken": "web identity token 1"}
    assert ask(parts, "POST", "/", body=urlencode(form))[0] == 200
    for change, code in (({"WebIdentityToken": "x"}, "InvalidIdentityToken"), ({"Version": ""}, "InvalidAction"), ({"RoleSessionName": ""}, "ValidationError"),
                         ({"Action": "AssumeRole"}, "MissingAuthenticationToken")):
        status, text = ask(parts, "POST", "/", body=urlencode({**form, **change}))
        assert status >= 400 and f"<Code>{code}</Code>" in text


def test_credentials_end_and_are_renewed_before(parts):
    parts.call("settings", lifetime=3600)
    first = json.loads(ask(parts, "GET", parts.ecs_uri[len(parts.url):])[1])
    assert json.loads(ask(parts, "GET", parts.ecs_uri[len(parts.url):])[1]) == first
    parts.call("settings", lifetime=-10)  # over before they're handed out
    late = json.loads(ask(parts, "GET", parts.ecs_uri[len(parts.url):])[1])
    assert late["AccessKeyId"] != first["AccessKeyId"]
    assert parts.call("issued")[late["AccessKeyId"]]["error"] == "ExpiredTokenException"
    parts.call("settings", fail={"ecs": 503})
    assert ask(parts, "GET", parts.ecs_uri[len(parts.url):])[0] == 503


def test_what_is_issued_signs_at_a_proxy_until_it_expires(parts, aws):
    proxy = aws.regions[0].kms
    made = json.loads(ask(parts, "GET", parts.ecs_uri[len(parts.url):])[1])
    client = AwsClient("kms", "us-east-1", proxy.url, made["AccessKeyId"], made["SecretAccessKey"], made["Token"])
    try:
        proxy.verify(parts.call("issued"))
        assert client("DescribeKey", KeyId="alias/keyfs")
        keys = parts.call("issued")
        keys[made["AccessKeyId"]]["error"] = "ExpiredTokenException"
        proxy.verify(keys)
        with pytest.raises(AwsError, match="ExpiredToken"):
            client("DescribeKey", KeyId="alias/keyfs")
    finally:
        proxy.verify(None)


def test_the_launcher_hands_out_the_endpoints():
    script = os.path.join(os.path.dirname(__file__), "with_credentials.py")
    code = "import os, urllib.request as u; print(u.urlopen(os.environ['KEYFS_TEST_ECS_URI']).status, open(os.environ['KEYFS_TEST_POD_TOKEN_FILE']).read())"
    done = subprocess.run([sys.executable, script, "--", sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "200 pod token 1\n", done.stderr

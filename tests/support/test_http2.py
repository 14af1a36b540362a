"""The HTTP/2 endpoint multiplexes, and the proxy behind it still counts."""
import subprocess

import pytest

from .http2 import Http2Front


@pytest.fixture
def front(aws):
    with Http2Front(aws.regions[0].kms.url, aws.ca) as front:
        yield front


def curl(front, aws, *options, urls=1):
    argv = ["curl", "-sS", "--cacert", aws.ca.ca_file, "-w", "%{http_version} %{http_code}\n", "-H", "X-Amz-Target: TrentService.ListKeys",
            "-H", "Content-Type: application/x-amz-json-1.1", "-H", "Authorization: AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0",
            "-d", "{}", *options]
    for _ in range(urls):
        argv += ["-o", "/dev/null", front.url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_it_offers_http2_and_passes_on(front, aws):
    assert curl(front, aws).stdout == "2 200\n"
    assert curl(front, aws, "--http1.1").stdout == "1.1 200\n"
    assert aws.regions[0].kms.calls("ListKeys") == 2
    assert front.connections() == 2


def test_one_connection_carries_many_requests_at_once(front, aws):
    aws.regions[0].kms.fault("delay", seconds=0.2)
    done = curl(front, aws, "--parallel", "--parallel-max", "20", urls=20)
    assert done.stdout == "2 200\n" * 20
    assert front.connections() == 1
    assert aws.regions[0].kms.calls("ListKeys", "max_in_flight") > 10

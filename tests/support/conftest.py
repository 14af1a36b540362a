"""Fixtures of the support parts' own tests."""
import pytest

from .aws import Aws
from .certs import TestCa
from .proxy import ProxyHost


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return TestCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def proxy_host():
    with ProxyHost() as host:
        yield host


@pytest.fixture(scope="session")
def aws_parts():
    with Aws() as aws:
        yield aws


@pytest.fixture
def aws(aws_parts):
    yield aws_parts
    aws_parts.heal()

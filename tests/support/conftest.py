"""Fixtures of the parts' own tests only; ../conftest.py has those for all."""
import pytest

from .certs import TestCa
from .proxy import ProxyHost


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return TestCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def proxy_host():
    with ProxyHost() as host:
        yield host

"""Fixtures of the tests that mount keyfs over KMS and DynamoDB in three regions, each service in each region behind its own fault proxy (support/aws.py)."""
import uuid

import pytest

import cloud


@pytest.fixture
def table(aws):
    """The name of the test's own table."""
    name = f"keyfs-{uuid.uuid4().hex[:8]}"
    aws.regions[0].make_table(name)
    return name


@pytest.fixture
def launch(aws, table, make_daemon):
    """launch(name=..., env=..., start=..., and what cloud.sections takes) -> a running Daemon. All daemons of a test share its table."""

    def start(name=None, env=None, start=True, **options):
        environment = {**cloud.CREDENTIALS, "AWS_CA_BUNDLE": aws.ca.ca_file, **(env or {})}
        daemon = make_daemon(cloud.sections(aws, table, **options), name=name, env=environment)
        return daemon.start() if start else daemon

    return start


@pytest.fixture
def calls(aws):
    return cloud.Calls(aws)

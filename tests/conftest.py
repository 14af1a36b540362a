"""Fixtures of all tests in Python: keyfs really mounted, and the servers it is used with (support/README.md). Tests that mount, change user or create
namespaces need root and /dev/fuse, and are skipped without, saying so."""
import os
import shutil
import tempfile

import pytest

from support import daemon as d
from support.aws import Aws
from support.etcd import EtcdCluster
from support.process import why_not_root
from support.users import TestUsers, walkable

# Of the parts' own tests, those that run anywhere; every other test needs root.
ANYWHERE = {"test_aws", "test_chaos", "test_credentials", "test_history", "test_http2", "test_kms_double", "test_proxy", "test_run_ctest"}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Each run has a directory of its own: the one that they would share is closed to other users by every run that begins, also under the feet
    of a test of another run that opened it (`folder`)."""
    config.keyfs_made_basetemp = config.option.basetemp is None
    if config.keyfs_made_basetemp:
        config.option.basetemp = tempfile.mkdtemp(prefix="keyfs-pytest-", dir="/tmp")


def pytest_sessionfinish(session, exitstatus):
    if session.config.keyfs_made_basetemp and exitstatus == 0:
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


def pytest_collection_modifyitems(items):
    why = why_not_root()
    for item in items if why else ():
        if not (item.path.parent.name == "support" and item.path.stem in ANYWHERE):
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session", autouse=True)
def own_mounts():
    """Mounts of a test run vanish with it, even when it's killed. KEYFS_TEST_SHARED_MOUNTS=1 leaves them where all can look at them."""
    if not os.environ.get("KEYFS_TEST_SHARED_MOUNTS") and not why_not_root():
        d.private_mounts()


@pytest.fixture
def folder(tmp_path):
    """tmp_path, which other users may walk through."""
    return walkable(tmp_path)


@pytest.fixture
def make_daemon(folder):
    """make_daemon(sections=... or embedded=..., name=..., ...) -> a Daemon, not yet started. Without either: SQLite and three local regions that all
    daemons of the test share, policy= and [keyfs] entries as keywords. All are ended and unmounted after the test, and each that came up must have ended
    well (or by SIGKILL): a sanitizer's complaint at the very end fails the test, too."""
    made = []

    def make(sections=None, embedded=None, name=None, env=None, options=(), user=None, policy=None, **keyfs):
        if sections is None and embedded is None:
            sections = d.local_sections(folder / "parts", policy=policy, **keyfs)
        daemon = d.Daemon(folder, sections, embedded, name or f"keyfs{len(made) + 1}", env, options, user)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()
    badly = [x for x in made if x.was_up and x.process.returncode not in (0, -9)]
    assert not badly, [f"{x.name} ended with {x.process.returncode}: {x.log()[-3000:]}" for x in badly]


@pytest.fixture
def keyfs(make_daemon):
    """One running daemon on embedded parts, on which uid 0 may do everything."""
    return make_daemon().start()


@pytest.fixture(scope="session")
def aws_parts():
    with Aws() as parts:
        yield parts


@pytest.fixture
def aws(aws_parts):
    """KMS and DynamoDB in three regions, healed and counted anew for each test."""
    aws_parts.heal()
    yield aws_parts
    aws_parts.heal()


@pytest.fixture(scope="session")
def etcd_parts():
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def etcd(etcd_parts):
    """A cluster of three, healed for each test."""
    etcd_parts.heal()
    yield etcd_parts
    etcd_parts.heal()


@pytest.fixture(scope="session")
def people():
    """Named users: keyfs-t1 and keyfs-t2 (both in the group keyfs-tg), keyfs-t3."""
    with TestUsers("keyfs-t1", "keyfs-t2", "keyfs-t3", groups={"keyfs-tg": ["keyfs-t1", "keyfs-t2"]}) as users:
        yield users

"""keyfs over a real etcd cluster: what its users see while keys end elsewhere and members fail. The parts: support/etcd.py."""
import errno
import os
import threading
import time
import uuid

import pytest

from support import daemon as d
from support.process import eventually


@pytest.fixture
def sections(etcd, folder):
    """sections(): what all daemons of a test share, under a prefix of their own in etcd."""
    prefix = f"/keyfs/{uuid.uuid4().hex[:8]}"

    def make(**keyfs):
        parts = d.local_sections(folder / "parts", **keyfs)
        parts["store"] = {**d.etcd_store(etcd)["store"], "prefix": prefix}
        return parts

    return make


def refusal(daemon, ident):
    """The errno of a read, or None when it was served."""
    try:
        daemon.read(ident)
    except OSError as e:
        return e.errno
    return None


def all_at_once(work, daemons):
    threads = [threading.Thread(target=work, args=(x,)) for x in daemons]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def test_a_disabled_key_is_revoked_on_every_host_within_a_second(sections, make_daemon):
    daemons = [make_daemon(sections(), name=f"host{n}").start() for n in range(4)]
    ids = [f"orders-{n}" for n in range(3)]
    for ident in ids:
        key = daemons[0].read(ident)
        assert all(x.read(ident) == key for x in daemons)
    for ident in ids:
        done = daemons[1].cli("disable", ident)
        assert done.returncode == 0, done.stderr
        begin = time.monotonic()
        late = {}

        def watch(x):
            while refusal(x, ident) != errno.EKEYREVOKED:
                assert time.monotonic() - begin < 10
            late[x.name] = time.monotonic() - begin

        all_at_once(watch, daemons)
        assert len(late) == len(daemons) and max(late.values()) < 1, late
    done = daemons[2].cli("enable", ids[0])
    assert done.returncode == 0, done.stderr
    for x in daemons:
        eventually(lambda: refusal(x, ids[0]) is None, 5, "an enabled key reads again")


def test_with_two_members_lost_keys_read_and_new_ones_fail_until_they_are_back(etcd, sections, make_daemon):
    warm = make_daemon(sections(open_deadline="4s"), name="warm").start()
    cold = make_daemon(sections(open_deadline="4s"), name="cold").start()
    keys = {ident: warm.read(ident) for ident in ("a", "b", "c")}
    assert cold.read("a") == keys["a"]
    etcd.members[0].kill()
    etcd.members[1].kill()
    for ident, key in keys.items():
        assert warm.read(ident) == key
        assert cold.read(ident) == key
    begin = time.monotonic()
    with pytest.raises(OSError) as failed:
        cold.read("new")
    assert failed.value.errno in (errno.ETIMEDOUT, errno.EIO)
    assert time.monotonic() - begin < 8
    etcd.heal()
    eventually(lambda: refusal(cold, "new") is None, 20, "creations succeed again by themselves")
    assert warm.read("new") == cold.read("new")


def test_a_daemon_refuses_to_create_in_a_cluster_it_does_not_know(etcd, sections, make_daemon):
    host = make_daemon(sections(open_deadline="4s"), name="host").start()
    key = host.read("orders")
    host.terminate()
    with open(os.path.join(host.state_dir, "etcd-cluster")) as f:
        known = f.read()
    assert known.startswith("cluster ")
    other = "cluster " + "1" * 16 + known[len("cluster ") + 16:]
    with open(os.path.join(host.state_dir, "etcd-cluster"), "w") as f:
        f.write(other)
    host.start()
    assert refusal(host, "new") is not None
    assert "another etcd cluster" in host.log()
    host.terminate()
    os.remove(os.path.join(host.state_dir, "etcd-cluster"))
    host.start()
    assert host.read("orders") == key
    assert refusal(host, "new") is None

"""keyfs over a real etcd cluster: what its users see while other hosts end keys and members fail. The parts: support/etcd.py."""
import errno
import itertools
import json
import os
import threading
import time
import uuid

import pytest

import seen
from support import daemon as d
from support import memory
from support.certs import TestCa
from support.etcd import PASSWORD, ROOT_PASSWORD
from support.process import eventually
from support.swarm import Swarm


@pytest.fixture
def sections(etcd, folder):
    """sections(): what all daemons of a test share, under a prefix of their own in etcd."""
    prefix = f"/keyfs/{uuid.uuid4().hex[:8]}"

    def make(http=False, **keyfs):
        parts = d.local_sections(folder / "parts", **keyfs)
        parts["store"] = {**d.etcd_store(etcd, http)["store"], "prefix": prefix}
        return {**parts, **seen.ADMIN}

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
    daemons = [make_daemon(sections(), name=f"host{n}").start() for n in range(10)]
    ids = [f"orders-{n}" for n in range(3)]
    for ident in ids:
        key = daemons[0].read(ident)
        assert all(x.read(ident) == key for x in daemons)
    for x in daemons:
        eventually(lambda: seen.status(x)["cache"]["watching"], 20, "a live watch")
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


def failures(records):
    return [r for r in records if r["kind"] == "fail" and r["errno"] != "EKEYREVOKED"]


def test_each_member_in_turn_is_lost_and_no_read_and_no_creation_fails(etcd, sections, make_daemon, folder):
    # Few keys are cached, so that most reads ask the cluster.
    daemons = [make_daemon(sections(http=n == 1, cache_keys=4), name=f"host{n}").start() for n in range(2)]
    made = itertools.count()
    with Swarm(folder, {x.name: x.mount for x in daemons}, [f"key-{n}" for n in range(40)]) as swarm:
        swarm.await_reads(40)
        recorder = swarm.recorder("maker")
        leader = etcd.leader()
        for member in [leader, *(m for m in etcd.members if m is not leader), None]:
            lost = member or etcd.leader()
            lost.kill()
            until = time.monotonic() + 3  # within which the others elect a leader
            while time.monotonic() < until:
                recorder.read(daemons[0].mount, f"new-{next(made)}")
            lost.restart()
    records = swarm.records()
    assert not failures(records), failures(records)[:5]
    assert sum(r["kind"] == "read" and r["id"].startswith("new") for r in records) >= 20


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
    assert refusal(cold, "new") in (errno.ETIMEDOUT, errno.EIO)
    assert time.monotonic() - begin < 8
    eventually(lambda: "id=new " in cold.log(), 20, "the reason in the log")
    etcd.heal()
    eventually(lambda: refusal(cold, "new") is None, 20, "creations succeed again by themselves")
    assert warm.read("new") == cold.read("new")


def test_a_daemon_that_starts_while_the_quorum_is_lost_serves_what_it_knew(etcd, sections, make_daemon):
    """Logging in needs the quorum, too: only this host's own copy of the record can help."""
    host = make_daemon(sections(open_deadline="4s"), name="host").start()
    keys = {ident: host.read(ident) for ident in ("a", "b")}
    disabled = host.read("c") and host.cli("disable", "c")
    assert disabled.returncode == 0, disabled.stderr
    eventually(lambda: refusal(host, "c") == errno.EKEYREVOKED, 20, "c is refused")
    host.terminate()
    etcd.members[0].kill()
    etcd.members[1].kill()
    host.start()
    for ident, key in keys.items():
        assert host.read(ident) == key
    assert refusal(host, "c") == errno.EKEYREVOKED
    assert refusal(host, "new") in (errno.ETIMEDOUT, errno.EIO)
    told = eventually(lambda: [line for line in host.log().splitlines() if "id=new " in line], 20, "the reason in the log")
    # Whether the one that is left already knows that it has no leader is a matter of time.
    assert "leader" in told[0] or "quorum" in told[0], told
    etcd.heal()
    eventually(lambda: refusal(host, "new") is None, 20, "creations succeed again by themselves")
    eventually(lambda: seen.status(host)["cache"]["watching"], 20, "a live watch")


def test_a_cluster_that_is_compacted_and_defragmented_goes_on(etcd, sections, make_daemon, folder):
    host = make_daemon(sections(), name="host").start()
    other = make_daemon(sections(http=True), name="other").start()
    ids = [f"key-{n}" for n in range(20)]

    def watching(x):
        return seen.status(x)["cache"]["watching"]

    with Swarm(folder, {x.name: x.mount for x in (host, other)}, ids) as swarm:
        swarm.await_reads(20)
        recorder = swarm.recorder("maker")
        for ident in ids[:4]:
            assert other.cli("disable", ident).returncode == 0
            etcd.compact()
            recorder.read(host.mount, f"new-{ident}")
            etcd.defrag()
            eventually(lambda: refusal(host, ident) == errno.EKEYREVOKED, 20, "the change is heard of")
        # Now the change is compacted away before the host could hear of it.
        eventually(lambda: watching(host), 20, "a live watch")
        for member in etcd.members:
            member.proxy.link("cut")
        eventually(lambda: not watching(host), 20, "the watch knows that it hears nothing")
        assert other.cli("disable", ids[5]).returncode == 0
        recorder.read(other.mount, "new")
        etcd.compact()
        etcd.defrag()
        assert refusal(host, ids[5]) is None, "nobody could tell it"
        for member in etcd.members:
            member.proxy.link("pass")
        eventually(lambda: refusal(host, ids[5]) == errno.EKEYREVOKED, 20, "every cached key is checked again")
        eventually(lambda: watching(host), 20, "a live watch")
        recorder.read(host.mount, "new")
    assert not failures(swarm.records()), failures(swarm.records())[:5]


def test_a_key_disabled_elsewhere_ends_where_only_a_member_that_was_cut_off_is_reached(etcd, sections, make_daemon):
    """That member goes on to give its own copy, in which the key is enabled: it confirms nothing."""
    parts = sections(fresh_for="1s", serve_stale_for="5s", open_deadline="4s")
    lonely = etcd.members[0]
    alone = {**parts, "store": {**parts["store"], "endpoints": lonely.proxy_url}}
    host = make_daemon(alone, name="host").start()
    other = make_daemon(sections(), name="other").start()
    key = host.read("orders")
    assert other.read("orders") == key
    eventually(lambda: seen.status(host)["cache"]["watching"], 20, "a live watch")
    lonely.cut_peers()
    begin = time.monotonic()
    eventually(lambda: other.cli("disable", "orders").returncode == 0, 20, "disabled elsewhere")
    # The watch was live until it could no longer be proven; then 5 s, and one check.
    eventually(lambda: refusal(host, "orders") is not None, 20, "refused")
    assert time.monotonic() - begin < 20
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert refusal(host, "orders") is not None, "and it stays so"
    lonely.join_peers()
    eventually(lambda: refusal(host, "orders") == errno.EKEYREVOKED, 20, "then it is known")
    etcd.heal()


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
    eventually(lambda: "another etcd cluster" in host.log(), 20, "the reason in the log")
    host.terminate()
    host.logged("keyfs check --accept-store")
    done = host.cli("check", "--accept-store")
    assert done.returncode == 0 and "the configured store is now the known one" in done.stdout, done.stdout + done.stderr
    host.start()
    assert host.read("orders") == key
    assert refusal(host, "new") is None


def test_a_cluster_that_went_back_is_told_by_the_log_the_status_and_every_command_that_changes_it(sections, make_daemon):
    host = make_daemon(sections(open_deadline="4s"), name="host").start()
    key = host.read("orders")
    host.read("billing")
    host.terminate()
    assert "gone back in time" not in host.log()
    path = os.path.join(host.state_dir, "etcd-cluster")
    with open(path) as f:
        known = dict(line.split() for line in f)
    known["revision"] = str(int(known["revision"]) + 1_000_000)
    with open(path, "w") as f:
        f.writelines(f"{name} {value}\n" for name, value in known.items())
    host.start()
    eventually(lambda: "has gone back in time" in host.log(), 20, "the log tells it without a request")
    assert host.read("orders") == key
    assert refusal(host, "new") is not None
    eventually(lambda: (seen.status(host)["creations"]["refused"] or "").find("gone back in time") >= 0, 20, "the status tells it")
    assert seen.total(host, "keyfs_store_went_back") == 1
    assert host.cli("check").returncode == 1
    done = host.cli("disable", "orders")
    assert done.returncode == 3 and "gone back in time" in done.stderr, done.stdout + done.stderr
    assert json.loads(host.cli("describe", "--json", "orders").stdout)["keys"][0]["state"] == "disabled", "but it is disabled"
    for command in (["enable", "orders"], ["enable", "billing"], ["delete", "--yes", "billing"]):
        done = host.cli(*command)
        assert done.returncode != 0 and "gone back in time" in done.stderr, (command, done.stdout + done.stderr)
    assert host.log().count("the store has lost what it once said") == 1
    host.terminate()
    assert host.cli("check", "--accept-store").returncode == 0
    host.start()
    assert refusal(host, "new") is None
    assert seen.status(host)["creations"]["refused"] is None and seen.total(host, "keyfs_store_went_back") == 0, "it is over"


def test_check_tells_what_is_wrong_with_the_certificates(etcd, sections, make_daemon, folder):
    parts = sections()
    host = make_daemon(parts, name="good").start()
    done = host.cli("check")
    assert done.returncode == 0, done.stdout + done.stderr

    etcd.members[2].kill()
    done = host.cli("check")
    assert done.returncode == 3 and "FAIL" in done.stdout, done.stdout + done.stderr
    etcd.heal()

    # etcd could take the common name for the name of its user, and its gateway lets nobody in who has one.
    cert, key = etcd.ca.client("with-a-name", common_name="keyfs")
    named = make_daemon({**parts, "store": {**parts["store"], "cert": cert, "key": key}}, name="named").cli("check")
    assert named.returncode == 1 and "client certificates with a common name" in named.stdout, named.stdout + named.stderr

    stranger = TestCa(folder / "stranger").ca_file
    untrusting = make_daemon({**parts, "store": {**parts["store"], "ca": stranger}}, name="untrusting").cli("check")
    assert untrusting.returncode == 1 and f"the TLS certificate is not trusted by the CA file {stranger}" in untrusting.stdout, untrusting.stdout


def test_check_says_what_to_do_about_a_used_up_quota(etcd, sections, make_daemon):
    host = make_daemon(sections(), name="host").start()
    key = host.read("orders")
    root = etcd.members[0].client("root", ROOT_PASSWORD)
    alarm = {"memberID": root.call("/v3/maintenance/status")["header"]["member_id"], "alarm": "NOSPACE"}
    root.call("/v3/maintenance/alarm", action="ACTIVATE", **alarm)
    try:
        done = host.cli("check")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "etcd has no space left: its quota is used up" in done.stdout
        assert "`etcdctl defrag`, or raise --quota-backend-bytes; then `etcdctl alarm disarm`" in done.stdout
        assert "grant readwrite" not in done.stdout
        assert host.read("orders") == key
    finally:
        root.call("/v3/maintenance/alarm", action="DEACTIVATE", **alarm)
    assert host.cli("check").returncode == 0


def test_the_password_is_in_memory_only_while_it_logs_in_and_never_in_the_log(etcd, sections, make_daemon):
    host = make_daemon(sections(), name="host").start()
    host.read("orders")
    eventually(lambda: seen.status(host)["cache"]["watching"], 20, "logged in, and a live watch")
    needles = {"password": PASSWORD.encode()}
    # It may be logging in at more than one member.
    hits = []
    eventually(lambda: hits.clear() or hits.extend(memory.scan_process(host.pid, needles)) or not hits, 20, "no copy is left", every=0.5)
    assert PASSWORD not in host.log()
    assert PASSWORD not in host.cli("explain").stdout + host.cli("status").stdout

"""The etcd cluster, and what its faults look like to a client."""
import json
import os
import subprocess
import sys

import pytest

from .etcd import PASSWORD, USER, EtcdCluster
from .etcd_client import EtcdClient, EtcdError, b64, insist
from .process import ROOT_DIR, eventually


@pytest.fixture(scope="module")
def shared():
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def etcd(shared):
    yield shared
    shared.heal()


def user(etcd, url, **more):
    return etcd.client(url, USER, PASSWORD, **more)


def test_all_ways_lead_to_one_cluster_that_asks_for_certificate_and_password(etcd):
    user(etcd, etcd.urls[0]).put("/keyfs/a", "1")
    for url in (*etcd.urls, *etcd.http_urls):
        assert user(etcd, url).range("/keyfs/a") == b"1"
    with pytest.raises(EtcdError, match="user name is empty|permission denied|user name not found"):
        etcd.client(etcd.urls[0]).range("/keyfs/a")
    with pytest.raises(EtcdError, match="permission denied"):
        user(etcd, etcd.urls[0]).put("/other", "1")
    with pytest.raises(OSError):  # no client certificate
        EtcdClient(etcd.urls[0], etcd.ca.ca_file, user=USER, password=PASSWORD).range("/keyfs/a")


def test_a_txn_can_be_done_and_its_reply_lost(etcd):
    member = etcd.members[1]
    client = user(etcd, member.http_proxy.tls_url)
    client.range("/keyfs/lost")
    member.http_proxy.fault("lose_reply", path="/v3/kv/txn", count=1)
    with pytest.raises(ConnectionResetError):
        client.call("/v3/kv/txn", compare=[{"key": b64("/keyfs/lost"), "target": "CREATE", "result": "EQUAL", "createRevision": "0"}],
                    success=[{"requestPut": {"key": b64("/keyfs/lost"), "value": b64("x")}}])
    assert client.range("/keyfs/lost") == b"x"
    assert member.http_proxy.calls("/v3/kv/txn") == 1


def test_a_leader_cut_off_from_the_others_answers_serializable_reads_only(etcd):
    user(etcd, etcd.urls[0]).put("/keyfs/b", "1")
    leader = etcd.leader()
    client = user(etcd, leader.proxy_url, timeout=3)
    eventually(lambda: client.range("/keyfs/b", serializable=True) == b"1")
    leader.cut_peers()
    rest = [m for m in etcd.members if m is not leader]
    eventually(lambda: any(m.healthy() and m.is_leader() for m in rest), what="another leader")
    with pytest.raises((EtcdError, OSError)):
        client.range("/keyfs/b")
    assert client.range("/keyfs/b", serializable=True) == b"1"
    user(etcd, rest[0].proxy_url).put("/keyfs/b", "2")
    leader.join_peers()
    leader.await_healthy()
    eventually(lambda: client.range("/keyfs/b") == b"2")


def test_pause_kill_wipe_compact_and_defrag(etcd):
    one, two, three = etcd.members
    client = user(etcd, one.proxy_url)
    client.put("/keyfs/c", "1")
    two.pause()
    with pytest.raises(TimeoutError):
        user(etcd, two.proxy_url, timeout=0.3).range("/keyfs/c")
    two.resume()
    two.await_healthy()
    three.kill()
    with pytest.raises(OSError):
        user(etcd, three.proxy_url).range("/keyfs/c")
    etcd.leader()  # it may have been three
    client.put("/keyfs/c", "2")
    three.restart()
    assert user(etcd, three.proxy_url).range("/keyfs/c") == b"2"
    three.restart(wipe=True)
    assert user(etcd, three.proxy_url).range("/keyfs/c") == b"2"
    etcd.compact()
    etcd.defrag()
    with pytest.raises(EtcdError, match="compacted"):
        client.range("/keyfs/c", revision="1")


def test_without_a_quorum_nothing_is_written_until_it_is_back(etcd):
    for member in etcd.members[1:]:
        member.kill()
    with pytest.raises((EtcdError, OSError)):
        user(etcd, etcd.urls[0], timeout=2).put("/keyfs/d", "1")
    etcd.heal()
    user(etcd, etcd.urls[0]).put("/keyfs/d", "2")


def test_the_proxies_cut_a_member_off_from_its_clients_only(etcd):
    member = etcd.members[0]
    member.link("cut")
    with pytest.raises(OSError):
        user(etcd, member.proxy_url).range("/keyfs/a")
    assert member.healthy()


def test_the_launcher_gives_the_cluster_and_control_over_members():
    code = """
import json, os, urllib.request as u
post = lambda verb: json.load(u.urlopen(u.Request(os.environ['KEYFS_TEST_ETCD_MEMBERS'] + verb, b'')))
n = post('/leader')['leader']
post(f'/{n}/kill'); post(f'/{n}/restart'); post(f'/{n % 3 + 1}/pause'); post('/heal'); post('/compact'); post('/1/stranger')
print(json.dumps([os.environ['KEYFS_TEST_ETCD_USER'], os.environ['KEYFS_TEST_ETCD_3'][:8]]))
raise SystemExit(5)"""
    script = os.path.join(ROOT_DIR, "tests", "support", "with_etcd.py")
    done = subprocess.run([sys.executable, script, "--", sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (5, json.dumps(["keyfs", "https://"]) + "\n"), done.stderr


def test_a_stranger_is_an_empty_cluster_of_another_id_with_the_same_users():
    with EtcdCluster() as cluster:
        user(cluster, cluster.urls[0]).put("/keyfs/a", "1")
        member = cluster.members[2]

        def cluster_id(m):
            return insist(m.client(), "/v3/kv/range", key=b64("/keyfs/a"))["header"]["cluster_id"]

        was = cluster_id(member)
        member.restart_as_stranger()
        assert user(cluster, member.proxy_url).range("/keyfs/a") is None
        assert cluster_id(member) != was == cluster_id(cluster.members[0])

"""Three members of a real etcd with TLS and auth. Each runs in a network namespace of its own: one cable leads to the other members, one to
us, so that a member can be cut off from the others, from its clients, or both; it can be killed, paused, restarted, wiped."""
import os
import shutil
import signal
import tempfile

from .certs import TestCa
from .etcd_client import EtcdClient, EtcdError, b64, insist
from .netns import Namespace, Subnet, Switch, uplink
from .process import eventually, spawn, stop
from .proxy import ProxyHost

USER, PASSWORD, ROOT_PASSWORD, PREFIX = "keyfs", "Vq7 hurtling 'Okapi' 93", "the root's password", "/keyfs"


class Member:
    """One member. proxy passes TCP through (TLS and client certificate are etcd's own); http_proxy ends TLS, asks for the client
    certificate too and knows requests, so that single replies can be lost."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.name = cluster, number, f"m{number}"
        self.data = os.path.join(cluster.folder, self.name)
        self.log_file = os.path.join(cluster.folder, f"{self.name}.log")
        self.process = None
        self.paused = False
        net = cluster.subnet
        self.peer_address, self.address = net.address(100 + number), net.address(2 * number + 1)
        self.peer_url, self.url = f"https://{self.peer_address}:2380", f"https://{self.address}:2379"
        self.space = Namespace()
        # Both cables are of one /24: the clients' /31 is the narrower route and wins for its two addresses.
        cluster.switch.plug(self.space, self.peer_address, self.name)
        uplink(self.space, f"k{net.prefix.replace('198.', '').replace('.', '')}n{number}", net.address(2 * number), self.address)
        self.cert, self.key = cluster.ca.server(self.name, ["localhost", "127.0.0.1", self.address, self.peer_address])
        tls = {"ca": cluster.ca.ca_file, "cert": cluster.client_cert, "key": cluster.client_key, "name": self.address}
        self.proxies = ProxyHost()  # a process for each member: what is much for one does not slow the way to the others
        self.proxy = self.proxies.add(f"etcd-{number}", self.address, 2379, mode="tcp")
        self.http_proxy = self.proxies.add(f"etcd-http-{number}", self.address, 2379, backend_tls=tls, client_ca=cluster.ca.ca_file, ca=cluster.ca)
        self.proxy_url = f"https://127.0.0.1:{self.proxy.port}"

    def start(self, initial="new", token=None, members=None):
        token = token or self.cluster.token
        members = members or self.cluster.members
        tls = []
        for kind in ("", "peer-"):
            tls += [f"--{kind}cert-file={self.cert}", f"--{kind}key-file={self.key}", f"--{kind}trusted-ca-file={self.cluster.ca.ca_file}",
                    f"--{kind}client-cert-auth"]
        with open(self.log_file, "ab") as log:
            self.process = spawn(self.space.enter([
                "etcd", "--name", self.name, "--data-dir", self.data, *tls, "--logger=zap", "--log-level=warn", "--heartbeat-interval=100",
                "--election-timeout=1000", "--auth-token=simple",
                "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url, "--listen-client-urls",
                f"{self.url},https://127.0.0.1:2379", "--advertise-client-urls", self.url, "--initial-cluster-token", token,
                "--initial-cluster-state", initial, "--initial-cluster", ",".join(f"{m.name}={m.peer_url}" for m in members)]),
                first=True, stdout=log, stderr=log)

    def client(self, user=USER, password=PASSWORD, **more):
        """A client that goes round the proxies."""
        return self.cluster.client(self.url, user=user, password=password, **more)

    def healthy(self):
        """The member is up and sees a leader."""
        if self.process is None or self.process.poll() is not None or self.paused:
            return False
        try:
            return self.cluster.client(self.url, timeout=2).get("/health").get("health") == "true"
        except (OSError, ValueError):
            return False

    def await_healthy(self, timeout=60):
        eventually(self.healthy, timeout, f"{self.name} healthy; its log ends: {self.log()[-800:]}", every=0.05)

    def kill(self):
        stop(self.process)
        self.paused = False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def restart(self, wipe=False, wait=True):
        """Kills and starts again. With wipe the data directory is lost, and the member is removed and added anew, as etcd's manual
        has it: it comes back empty and catches up."""
        self.kill()
        if wipe:
            shutil.rmtree(self.data, ignore_errors=True)
            # Those that remain may have to elect a leader first.
            other = eventually(lambda: next((m for m in self.cluster.members if m is not self and m.healthy()), None), 30, "another member healthy")
            admin = other.client("root", ROOT_PASSWORD)
            members = insist(admin, "/v3/cluster/member/list")["members"]
            gone = next(m["ID"] for m in members if self.peer_url in m["peerURLs"])
            insist(admin, "/v3/cluster/member/remove", ID=gone)
            insist(admin, "/v3/cluster/member/add", peerURLs=[self.peer_url])
        self.start("existing" if wipe else "new")
        if wait:
            self.await_healthy()

    def restart_as_stranger(self):
        """Loses its data and comes back, at the same address, as an empty cluster of its own with the same users."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self.start("new", token=self.cluster.token + "-stranger", members=[self])
        self.await_healthy()
        self.cluster.enable_auth(self)

    def cut_peers(self):
        """Out of reach of the other members; its clients still reach it."""
        self.cluster.switch.cut(self.name)

    def join_peers(self):
        self.cluster.switch.join(self.name)

    def link(self, state):
        """Both proxies before it: see Proxy.link."""
        self.proxy.link(state)
        self.http_proxy.link(state)

    def is_leader(self):
        status = self.client("root", ROOT_PASSWORD).call("/v3/maintenance/status")
        return status.get("leader") == status["header"]["member_id"]

    def defrag(self):
        self.client("root", ROOT_PASSWORD).call("/v3/maintenance/defragment")

    def log(self):
        try:
            with open(self.log_file, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def close(self):
        stop(self.process)
        self.proxies.close()
        self.space.close()


class EtcdCluster:
    """A context manager. members[0..2]; clients present the certificate client_cert and log in as USER, who may do all under PREFIX."""

    def __init__(self, size=3, folder=None):
        self._own_folder = None if folder else tempfile.TemporaryDirectory(prefix="keyfs-etcd-")
        self.folder = str(folder or self._own_folder.name)
        self.members, self._parts = [], []
        self.token = f"keyfs-test-{os.getpid()}"
        try:
            self.ca = TestCa(os.path.join(self.folder, "ca"))
            self.client_cert, self.client_key = self.ca.client("client")
            self.password_file = os.path.join(self.folder, "password")
            with open(self.password_file, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(PASSWORD + "\n")
            self.subnet = self._part(Subnet())
            self.switch = self._part(Switch())
            for n in range(1, size + 1):
                self.members.append(Member(self, n))
            for member in self.members:
                member.start()
            for member in self.members:
                member.await_healthy()
            self.enable_auth(self.members[0])
        except BaseException:
            self.close()
            raise

    def _part(self, part):
        self._parts.append(part)
        return part

    def client(self, url, user=None, password=None, **more):
        return EtcdClient(url, self.ca.ca_file, self.client_cert, self.client_key, user, password, **more)

    @property
    def urls(self):
        """For clients: through the TCP proxies."""
        return [m.proxy_url for m in self.members]

    @property
    def http_urls(self):
        """For clients: through the HTTP proxies."""
        return [m.http_proxy.tls_url for m in self.members]

    @staticmethod
    def enable_auth(member):
        client = member.client(user=None)
        insist(client, "/v3/auth/user/add", name="root", password=ROOT_PASSWORD)
        insist(client, "/v3/auth/role/add", name="root")
        insist(client, "/v3/auth/user/grant", user="root", role="root")
        insist(client, "/v3/auth/role/add", name="keyfs")
        insist(client, "/v3/auth/role/grant", name="keyfs", perm={"permType": "READWRITE", "key": b64(PREFIX),
                                                                   "range_end": b64(PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1))})
        insist(client, "/v3/auth/user/add", name=USER, password=PASSWORD)
        insist(client, "/v3/auth/user/grant", user=USER, role="keyfs")
        insist(client, "/v3/auth/enable")

    def leader(self):
        """The member that leads, awaited."""
        def find():
            try:
                return next((m for m in self.members if m.healthy() and m.is_leader()), None)
            except (EtcdError, OSError):  # it changed its mind, or its leader, in between
                return None
        return eventually(find, 30, "a leader", every=0.05)

    def compact(self):
        """Forgets all history up to now."""
        admin = next(m for m in self.members if m.healthy()).client("root", ROOT_PASSWORD)
        revision = insist(admin, "/v3/kv/range", key=b64("x"))["header"]["revision"]
        insist(admin, "/v3/kv/compaction", revision=revision, physical=True)

    def defrag(self):
        for member in self.members:
            if member.healthy():
                member.defrag()

    def heal(self):
        """All members up and joined, proxies passing, no faults. Waits for health and for a leader."""
        for m in self.members:
            m.proxy.heal()
            m.http_proxy.heal()
            m.join_peers()
            if m.paused:
                m.resume()
            if m.process.poll() is not None:
                m.restart(wait=False)
        for m in self.members:
            m.await_healthy()
        self.leader()

    def environment(self):
        env = {"KEYFS_TEST_ETCD_COUNT": str(len(self.members)), "KEYFS_TEST_ETCD_CA": self.ca.ca_file, "KEYFS_TEST_ETCD_CERT": self.client_cert,
               "KEYFS_TEST_ETCD_KEY": self.client_key, "KEYFS_TEST_ETCD_USER": USER, "KEYFS_TEST_ETCD_PASSWORD_FILE": self.password_file,
               "KEYFS_TEST_ETCD_PREFIX": PREFIX}
        for m in self.members:
            env[f"KEYFS_TEST_ETCD_{m.number}"] = m.proxy_url
            env[f"KEYFS_TEST_ETCD_{m.number}_CONTROL"] = m.proxy.control
            env[f"KEYFS_TEST_ETCD_{m.number}_HTTP"] = m.http_proxy.tls_url
            env[f"KEYFS_TEST_ETCD_{m.number}_HTTP_CONTROL"] = m.http_proxy.control
        return env

    def close(self):
        for part in [*self.members, *reversed(self._parts)]:
            part.close()
        if self._own_folder:
            self._own_folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


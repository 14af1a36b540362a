"""A double of AWS KMS, written to AWS's documentation: what moto can't do (pages, dates of aliases under a clock that moves, pending deletion, right
signatures over digests, replicas) and faults at each call, before and after it took effect. README.md of support tells how it is used.

    with KmsDouble(["us-east-1", "us-west-2"]) as kms:
        kms.url("us-east-1")                                           # or kms.any_url: the region of the credential scope
        kms.fault(operation="UpdateAlias", when="after", do="close")   # faults.py has all fields
        kms.advance(days=14)
        kms.call("us-east-1", "CreateKey", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")   # as somebody else: no faults, not in the log
        kms.counts()                                                   # {"Sign": 3}
"""
from .crypto import Pool
from .errors import KmsError
from .faults import Faults
from .operations import Operations
from .server import ControlServer, KmsServer
from .state import Alias, Clock, State

__all__ = ["KmsDouble", "KmsError"]
REGIONS = ("us-east-1", "us-west-2")


class KmsDouble:
    """All methods are for any thread. credentials: {access key id: {"secret": S}} whose signatures are checked; None: nothing is."""

    def __init__(self, regions=REGIONS, credentials=({"test": {"secret": "test"}}), aws_aliases=()):
        """aws_aliases: names such as "s3": AWS lists its own aliases, too, without a key as long as nobody used them."""
        self.regions, self.credentials = list(regions), credentials
        self._clock, self.pool = Clock(), Pool()
        self.faults = Faults(self._clock)
        self.state = State(self.regions, self._clock)
        self.operations = Operations(self.state, self.pool)
        self._aws_aliases = aws_aliases
        self._own_aliases()
        self._servers, self._any, self._control, self._ports = {}, None, None, {}

    # -- running

    def start(self):
        for region in self.regions:
            self._servers[region] = KmsServer(self, region)
            self._ports[region] = self._servers[region].port
        self._any, self._control = KmsServer(self, None), ControlServer(self)
        return self

    def close(self):
        self.faults.heal()
        for server in [*self._servers.values(), self._any, self._control]:
            if server:
                server.close()
        self._servers, self._any, self._control = {}, None, None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def url(self, region):
        return f"http://127.0.0.1:{self._ports[region]}"

    @property
    def any_url(self):
        return f"http://127.0.0.1:{self._any.port}"

    @property
    def control_url(self):
        return f"http://127.0.0.1:{self._control.port}"

    def ports(self):
        return {"regions": dict(self._ports), "any": self._any.port, "control": self._control.port}

    # -- the clock

    def now(self):
        return self._clock.now()

    def advance(self, seconds=0.0, **more):
        """advance(days=14, hours=1)"""
        with self.state.lock:
            self._clock.advance(seconds, **more)
            self.state.settle()

    def set_creating(self, seconds):
        """How long, by the clock, replicas that are made from now on are Creating."""
        self.state.creating = seconds

    # -- faults

    def fault(self, **fields):
        self.faults.add(**fields)

    def hook(self, function, **fields):
        """function(call) is called at that call, on the server's thread, before the call goes on."""
        self.faults.add(do="hook", hook=function, **fields)

    def out(self, region, how="refuse"):
        """A region that refuses connections, or (how="hang") takes them and never answers, until heal()."""
        self.faults.out(region, how)
        server = self._servers.get(region)
        if how == "refuse" and server:
            del self._servers[region]
            server.close()

    def release(self):
        self.faults.release()

    def heal(self):
        """No faults any more; what hangs goes on."""
        self.faults.heal()
        for region in self.regions:
            if self._any and region not in self._servers:
                self._servers[region] = KmsServer(self, region, self._ports[region])

    # -- the log

    def log(self, operation=None, region=None):
        return [c for c in self.faults.log() if operation in (None, c.operation) and region in (None, c.region)]

    def counts(self, region=None):
        return self.faults.counts(region)

    def forget_log(self):
        self.faults.forget_log()

    # -- what is there, and what others do

    def call(self, region, operation, **fields):
        """As anybody else in the account would: no fault meets it, and the log does not have it. KmsError as AWS would answer."""
        return self.operations.perform(region, operation, fields)

    def keys(self, region=None):
        """What is there, as rows: id, arn, region, spec, state, description, tags, aliases, created, due."""
        with self.state.lock:
            self.state.settle()
            return [{"id": k.id, "arn": k.arn, "region": k.region, "spec": k.spec, "state": k.state, "description": k.description, "tags": k.tags,
                     "aliases": self.state.names_of(k), "created": k.created, "due": k.due}
                    for name in ([region] if region else self.regions) for k in self.state.keys[name].values()]

    def orphans(self, region=None):
        """Keys for signing that have no alias and whose deletion nobody has scheduled. A replica is none whose primary has an alias."""
        rows = [k for k in self.keys() if k["spec"] != "SYMMETRIC_DEFAULT"]
        named = {k["id"] for k in rows if k["aliases"]}
        return [k for k in rows if k["id"] not in named and k["state"] not in ("PendingDeletion", "PendingReplicaDeletion") and region in (None, k["region"])]

    def target(self, region, alias):
        """The ARN of the key that an alias refers to; None: there is no such alias."""
        with self.state.lock:
            found = self.state.aliases[region].get(alias)
            return self.state.keys[region][found.target].arn if found and found.target else None

    def reset(self):
        """As new: no keys, no aliases, no faults, no log; the clock stays where it is."""
        self.heal()
        with self.state.lock:
            self.state.forget()
            self.state.creating = 0.0
            self._own_aliases()
        self.forget_log()

    def _own_aliases(self):
        for region in self.regions:
            for name in self._aws_aliases:
                alias = Alias(region, f"alias/aws/{name}", None, self._clock.now())
                self.state.aliases[region][alias.name] = alias

"""KMS, DynamoDB and STS in several regions, from moto, each region's services behind their own proxies."""
import http.client
import os
import tempfile

from .aws_client import AwsClient, AwsError
from .certs import TestCa
from .process import python_env, start_json, stop, venv_python
from .proxy import ProxyHost

REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
TABLE = "keyfs"


class Moto:
    """One moto process. It serves all regions (the one in the signature's scope counts), forgets all when it ends."""

    def __init__(self, replicas=()):
        """replicas: regions that DescribeTable names as those of one strongly consistent Global Table."""
        self.process, ready = start_json([venv_python(), "-m", "support.moto_server"], timeout=60, env=python_env(
            MOTO_IAM_LOAD_MANAGED_POLICIES="false", AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
            KEYFS_MOTO_REPLICAS=",".join(replicas)))
        self.host, self.port = "127.0.0.1", ready["port"]
        self.url = f"http://{self.host}:{self.port}"

    def client(self, service, region):
        return AwsClient(service, region, self.url)

    def reset(self):
        """Forgets every key, table and item."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request("POST", "/moto-api/reset", b"")
        connection.getresponse().read()
        connection.close()

    def close(self):
        stop(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Region:
    """One region: master key (key_arn, alias/keyfs), a replica of the multi-Region key (mrk_arn), and the proxies kms and
    dynamodb. kms_direct and dynamodb_direct are clients that go round the proxies; table_region is where the table is."""

    def __init__(self, name, number, moto, proxies, ca, table_region):
        self.name, self.number = name, number
        self.kms = proxies.add(f"kms-{number}", moto.host, moto.port, ca=ca)
        self.dynamodb = proxies.add(f"dynamodb-{number}", moto.host, moto.port, ca=ca, as_region=table_region)
        self.kms_direct = moto.client("kms", name)
        self.dynamodb_direct = moto.client("dynamodb", table_region)
        self.key_id = self.key_arn = self.mrk_arn = None

    def make_key(self):
        made = self.kms_direct("CreateKey", Description="keyfs test")["KeyMetadata"]
        self.key_id, self.key_arn = made["KeyId"], made["Arn"]
        self.kms_direct("CreateAlias", AliasName="alias/keyfs", TargetKeyId=self.key_id)

    def make_table(self, table=TABLE):
        """The tables of the DynamoDB store, paid per request: partition key `id` (a string), and the board beside it, unless that is there."""
        self.dynamodb_direct("CreateTable", TableName=table, BillingMode="PAY_PER_REQUEST",
                             AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                             KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}])
        try:
            self.dynamodb_direct("CreateTable", TableName=f"{table}-board", BillingMode="PAY_PER_REQUEST",
                                 AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("part", "name")],
                                 KeySchema=[{"AttributeName": "part", "KeyType": "HASH"}, {"AttributeName": "name", "KeyType": "RANGE"}])
        except AwsError as error:
            if error.kind != "ResourceInUseException":
                raise

    def link(self, state):
        """Both services at once: see Proxy.link."""
        self.kms.link(state)
        self.dynamodb.link(state)

    def heal(self):
        self.kms.heal()
        self.dynamodb.heal()


class Aws:
    """Moto, the proxies and N regions with master keys and the table. A context manager.

    tables: "global" (all regions see one table at once, as a Global Table in the strongly consistent mode), "separate" (each
    region has its own: moto doesn't replicate) or "none"."""

    def __init__(self, regions=REGIONS, tables="global", folder=None):
        self._own_folder = None if folder else tempfile.TemporaryDirectory(prefix="keyfs-aws-")
        self.folder = str(folder or self._own_folder.name)
        self.moto = self.proxies = None
        try:
            self.ca = TestCa(os.path.join(self.folder, "ca"))
            self.moto = Moto(regions if tables == "global" else ())
            self.proxies = ProxyHost()
            self.sts = self.proxies.add("sts", self.moto.host, self.moto.port, ca=self.ca)
            self.regions = [Region(name, n, self.moto, self.proxies, self.ca, regions[0] if tables == "global" else name)
                            for n, name in enumerate(regions, 1)]
            self._tables = tables
            self.fill()
        except BaseException:
            self.close()
            raise

    def fill(self):
        for region in self.regions:
            region.make_key()
            if self._tables == "separate" or (self._tables == "global" and region is self.regions[0]):
                region.make_table()
        primary = self.regions[0]
        mrk = primary.kms_direct("CreateKey", MultiRegion=True)["KeyMetadata"]
        primary.mrk_arn = mrk["Arn"]
        for region in self.regions[1:]:
            region.mrk_arn = primary.kms_direct("ReplicateKey", KeyId=mrk["KeyId"], ReplicaRegion=region.name)["ReplicaKeyMetadata"]["Arn"]

    def reset(self):
        """As new: no items, new master keys, no faults, counts at zero."""
        self.moto.reset()
        self.fill()
        self.heal()

    def heal(self):
        self.sts.heal()
        for region in self.regions:
            region.heal()

    def environment(self):
        """What with_aws.py sets for C++ tests: README.md lists the variables."""
        env = {"KEYFS_TEST_CA": self.ca.ca_file, "KEYFS_TEST_CONTROL": self.proxies.control, "KEYFS_TEST_REGIONS": str(len(self.regions)),
               "KEYFS_TEST_MOTO": self.moto.url, "KEYFS_TEST_STS": self.sts.url, "KEYFS_TEST_STS_CONTROL": self.sts.control,
               "KEYFS_TEST_TABLE": TABLE, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": self.regions[0].name,
               "AWS_EC2_METADATA_DISABLED": "true"}
        for r in self.regions:
            env[f"KEYFS_TEST_REGION_{r.number}"] = r.name
            env[f"KEYFS_TEST_KEY_{r.number}"] = r.key_arn
            env[f"KEYFS_TEST_MRK_{r.number}"] = r.mrk_arn
            for label, proxy in (("KMS", r.kms), ("DYNAMODB", r.dynamodb)):
                env[f"KEYFS_TEST_{label}_{r.number}"] = proxy.url
                env[f"KEYFS_TEST_{label}_{r.number}_TLS"] = proxy.tls_url
                env[f"KEYFS_TEST_{label}_{r.number}_CONTROL"] = proxy.control
        return env

    def close(self):
        for part in (self.proxies, self.moto):
            if part:
                part.close()
        if self._own_folder:
            self._own_folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

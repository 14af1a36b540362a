"""Fixtures of the tests of keyfs-spire: a double of KMS, and plugins that are started as SPIRE starts them."""
import pytest

from support.kms_double import KmsDouble
from support.spire_client import Plugin, environment


@pytest.fixture
def kms():
    with KmsDouble(["us-east-1", "us-west-2"]) as double:
        yield double


@pytest.fixture
def settings(kms, tmp_path):
    """settings(server=..., more="...") -> the plugin's configuration over the double."""

    def make(server="srv1", regions=None, more="", state="state", endpoint=None):
        where = 'region = "us-east-1"'
        if regions:
            where = "regions = [" + ", ".join(f'"{r}"' for r in regions) + "]"
        return f'''{where}
key_identifier_value = "{server}"
endpoint = "{endpoint or kms.any_url}"
access_key_id = "test"
secret_access_key = "test"
state_dir = "{tmp_path / state}"
{more}
'''

    return make


@pytest.fixture
def start():
    """start(configuration=None, ...) -> a running Plugin, configured if a configuration is given. All end after the test, and well."""
    made = []

    def make(configuration=None, trust_domain="example.org", **options):
        options["env"] = environment(**options.pop("env", {}))
        plugin = Plugin(**options)
        made.append(plugin)
        if configuration is not None:
            plugin.configure(configuration, trust_domain)
        return plugin

    yield make
    codes = [plugin.close() for plugin in made]
    assert all(code in (0, -9) for code in codes), (codes, [p.lines[-5:] for p in made])

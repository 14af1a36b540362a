"""Any two of three regions dead, KMS and DynamoDB with them, in every way in which a region can be dead: every existing key can be read."""
import itertools
import subprocess

import pytest

import cloud
from mount.seen import within
from support import daemon as d

IDS = [f"key-{n}" for n in range(4)]
PAIRS = list(itertools.combinations(range(3), 2))
LINKS = ("refuse", "cut", "hang", "blackhole")
FAULTS = {"reset": {"do": "reset"}, "close": {"do": "close"}, "error 500": {"do": "error", "type": "InternalServerError", "status": 500},
          "no answer": {"do": "hang"}, "cut short": {"do": "truncate"}}
# Each way for every pair, and the ways that differ from them in little for the two that are asked first.
CASES = [(way, pair) for way in ("cut", "hang", "reset", "error 500") for pair in PAIRS]
CASES += [(way, PAIRS[0]) for way in ("refuse", "blackhole", "close", "no answer", "cut short")]


def die(region, way):
    for proxy in (region.kms, region.dynamodb):
        proxy.link(way) if way in LINKS else proxy.fault(**FAULTS[way])


@pytest.fixture(scope="module")
def made(aws_parts, tmp_path_factory):
    """A table, and what a healthy daemon made in it."""
    table = "keyfs-regions-dead"
    aws_parts.regions[0].make_table(table)
    with d.Daemon(tmp_path_factory.mktemp("maker"), cloud.sections(aws_parts, table), env=cloud.CREDENTIALS) as maker:
        return table, {ident: maker.read(ident) for ident in IDS}


@pytest.fixture
def table(made):
    return made[0]


@pytest.fixture
def keys(made):
    return made[1]


def read_all(keyfs, keys):
    """Within half of the deadline each: users only notice some delay."""
    for ident, key in keys.items():
        with within(5, f"a cold read of {ident}"):
            assert keyfs.read(ident) == key


@pytest.mark.parametrize(("way", "pair"), CASES, ids=lambda p: p if isinstance(p, str) else f"{p[0] + 1}-and-{p[1] + 1}")
def test_every_key_reads_with_two_regions_dead(launch, aws, keys, way, pair):
    """They die under a running daemon with open connections, and are dead when another one starts."""
    running = launch(name="running")
    for n in pair:
        die(aws.regions[n], way)
    half = len(IDS) // 2
    read_all(running, dict(list(keys.items())[:half]))
    starting = launch(name="starting")
    read_all(starting, dict(list(keys.items())[half:]))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0] + 1}-and-{p[1] + 1}")
@pytest.mark.parametrize("silent", [False, True], ids=["refused", "unanswered"])
def test_every_key_reads_with_two_regions_whose_names_do_not_resolve(launch, aws, keys, folder, pair, silent):
    def endpoints(region):
        if region.number - 1 not in pair:
            return region.kms.url, region.dynamodb.url
        return f"http://kms.{region.name}.keyfs.test:{region.kms.port}", f"http://dynamodb.{region.name}.keyfs.test:{region.dynamodb.port}"

    with cloud.name_server(folder, silent):
        plain = {"allow_plain_http": "yes"}
        keyfs = launch(name="reader", endpoints=endpoints, store=plain, regions={r.name: plain for r in aws.regions})
        read_all(keyfs, keys)


def test_every_key_reads_when_two_regions_die_one_after_the_other_while_it_is_read(launch, aws, keys):
    """The pairs change under the daemon: what it learned of the regions is wrong each time."""
    keyfs = launch(name="reader", cache_keys=1)
    for pair in PAIRS + PAIRS[::-1]:
        aws.heal()
        for n in pair:
            die(aws.regions[n], "cut")
        read_all(keyfs, keys)


def test_all_read_at_once_while_two_regions_hang(launch, aws, folder, keys):
    """The first readers pay for the learning; nobody is refused."""
    keyfs = launch(name="reader")
    for n in (0, 1):
        die(aws.regions[n], "hang")
    with within(8, "the cold reads of all"):
        found = subprocess.run(["sh", "-c", 'for f in "$@"; do cat "$f" & done; wait', "sh", *map(keyfs.path, IDS)], capture_output=True)
    assert len(found.stdout) == 32 * len(IDS) and not found.stderr
    assert sorted(found.stdout[n:n + 32] for n in range(0, len(found.stdout), 32)) == sorted(keys.values())

"""DynamoDB announces nothing: what a command changes, other hosts read on the board."""
import errno
import time

import cloud
import pytest

from support import cli


def refused(keyfs, ident):
    try:
        keyfs.read(ident)
    except OSError as error:
        assert error.errno == errno.EKEYREVOKED, error
        return True
    return False


def within(seconds, holds):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("shards", [1, 3])
def test_other_hosts_soon_hear_of_what_a_command_has_changed(aws, table, make_daemon, shards):
    env = {**cloud.CREDENTIALS, "AWS_CA_BUNDLE": aws.ca.ca_file}
    sections = {**cloud.sections(aws, table, fresh_for="1h"), "rotation": {"poll_every": "1s", "pulse_shards": shards}}
    here, other = (make_daemon(sections, name=name, env=env).start() for name in ("here", "other"))
    first = here.read("orders")
    assert other.read("orders") == first
    for command in (["disable", "orders"], ["enable", "orders"]):
        done = here.cli(*command)
        assert done.returncode == cli.DONE and "were not told" not in done.stderr, done
        assert within(15, lambda: refused(other, "orders") == (command[0] == "disable")), command
    assert here.cli("rotate", "orders").returncode == cli.DONE
    assert within(15, lambda: other.read("orders") != first)
    assert here.cli("retire", "orders", "--below", "2").returncode == cli.DONE
    assert within(15, lambda: refused(other, ".keyfs/versions/orders/1"))

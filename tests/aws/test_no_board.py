"""Commands where DynamoDB has no table for the board: keys are rotated, and nobody is told."""
import json

from support import cli


def test_keys_are_rotated_without_a_board_and_only_wait_takes_offence(launch, aws, table):
    aws.regions[0].dynamodb_direct("DeleteTable", TableName=f"{table}-board")
    keyfs = launch()
    keyfs.read("orders")
    done = keyfs.cli("rotate", "--json", "orders")
    key, = json.loads(done.stdout)["keys"]
    assert (done.returncode, key["current"], key["ticket"]) == (cli.DONE, 2, None) and f"there is no table {table}-board" in key["no_ticket"]
    assert "no run of rotation will tell the consumers of orders: " in done.stderr and f"there is no table {table}-board" in done.stderr
    waited = keyfs.cli("rotate", "--wait", "orders")
    assert waited.returncode == cli.FAILED and "version 3 is current now" in waited.stdout, waited
    assert keyfs.cli("promote", "orders", "2").returncode == cli.DONE
    assert keyfs.cli("promote", "--wait", "orders", "1").returncode == cli.FAILED
    listed = cli.run("rotation", "list", *keyfs.source, env=keyfs.env)
    assert listed.returncode == cli.FAILED and f"there is no table {table}-board" in listed.stderr


def test_a_key_is_disabled_without_a_board_and_others_hear_of_it_in_their_own_time(launch, aws, table):
    aws.regions[0].dynamodb_direct("DeleteTable", TableName=f"{table}-board")
    keyfs = launch()
    keyfs.read("orders")
    done = keyfs.cli("disable", "orders")
    assert done.returncode == cli.DONE and "orders: disabled" in done.stdout, done
    assert "other hosts were not told of this change: they hear of it within fresh_for" in done.stderr, done

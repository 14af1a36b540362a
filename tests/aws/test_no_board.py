"""Commands where DynamoDB has no table for the board: keys are rotated, and nobody is told."""
import json
import time

from support import cli


def test_keys_are_rotated_without_a_board_and_only_wait_takes_offence(launch, aws, table):
    aws.regions[0].dynamodb_direct("DeleteTable", TableName=f"{table}-board")
    keyfs = launch()
    keyfs.read("orders")
    done = keyfs.cli("rotate", "--json", "orders")
    key, = json.loads(done.stdout)["keys"]
    assert (done.returncode, key["current"], key["ticket"]) == (cli.DONE, 2, None) and f"there is no table {table}-board" in key["no_ticket"]
    assert len(done.stderr.splitlines()) == 1 and "no run of rotation will tell the consumers of orders, and other hosts hear of the change within fresh_for" in done.stderr and f"there is no table {table}-board" in done.stderr
    waited = keyfs.cli("rotate", "--wait", "orders")
    assert waited.returncode == cli.FAILED and "version 3 is current now" in waited.stdout, waited
    assert keyfs.cli("promote", "orders", "2").returncode == cli.DONE
    assert keyfs.cli("promote", "--wait", "orders", "1").returncode == cli.FAILED
    listed = cli.run("rotation", "list", *keyfs.source, env=keyfs.env)
    assert listed.returncode == cli.FAILED and f"there is no table {table}-board" in listed.stderr


def test_a_board_that_does_not_answer_is_waited_for_once_and_the_same_command_again_asks_for_the_run(launch, aws, table):
    keyfs = launch(open_deadline="4s")
    for ident in ("orders", "bills", "mails"):
        keyfs.read(ident)
    home = aws.regions[0].dynamodb
    home.fault("hang", about=f"{table}-board")
    begin = time.monotonic()
    done = keyfs.cli("rotate", "--json", "orders", "bills", "mails")
    took = time.monotonic() - begin
    keys = json.loads(done.stdout)["keys"]
    assert done.returncode == cli.PARTIAL and [key["current"] for key in keys] == [2, 2, 2], done
    assert all(key["ticket"] is None and key["no_ticket"] for key in keys)
    assert "no run of rotation will tell the consumers of orders, bills, mails" in done.stderr and "the same command again asks for it" in done.stderr
    assert took < 8, "it was asked once"
    home.heal()
    done = keyfs.cli("rotate", "--json", "orders", "bills", "mails")
    keys = json.loads(done.stdout)["keys"]
    assert done.returncode == cli.DONE and [(key["outcome"], key["current"]) for key in keys] == [("already", 2)] * 3, done
    assert all(key["ticket"] for key in keys)
    assert json.loads(keyfs.cli("rotate", "--json", "orders").stdout)["keys"][0]["current"] == 3, "that one is over"


def test_a_key_is_disabled_without_a_board_and_others_hear_of_it_in_their_own_time(launch, aws, table):
    aws.regions[0].dynamodb_direct("DeleteTable", TableName=f"{table}-board")
    keyfs = launch()
    keyfs.read("orders")
    done = keyfs.cli("disable", "orders")
    assert done.returncode == cli.DONE and "orders: disabled" in done.stdout, done
    assert "other hosts were not told of this change: they hear of it within fresh_for" in done.stderr, done

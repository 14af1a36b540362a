"""A recreated table with the same name is another store: a host that knew the old one creates no key in it."""
import cloud
from mount import seen
from support.process import eventually


def make_anew(aws, table):
    home = aws.regions[0].dynamodb_direct
    home("UpdateTable", TableName=table, DeletionProtectionEnabled=False)
    home("DeleteTable", TableName=table)
    aws.regions[0].make_table(table)


def test_a_table_made_anew_gets_no_second_key_until_the_operator_accepts_it(launch, aws, table):
    host, other = launch(name="host"), launch(name="other")
    host.read("mine")
    theirs = other.read("orders")
    make_anew(aws, table)
    host.restart()
    # Another host had made it, so that nothing here remembers it.
    assert seen.error_name(host.read, "orders") == "EIO"
    created = host.cli("create", "orders")
    assert created.returncode != 0 and "not the store that this host has used so far" in created.stderr, created
    assert cloud.items(aws, table) == {}
    for command in ("heal", "rewrap", "list"):
        done = host.cli(command)
        assert done.returncode == 1 and "not the store that this host has used so far" in done.stderr, done
    checked = host.cli("check")
    assert checked.returncode == 1 and "keyfs check --accept-store" in checked.stdout, checked

    accepted = host.cli("check", "--accept-store")
    assert accepted.returncode == 3 and "the configured store is now the known one" in accepted.stdout, accepted
    assert "the store lacks 1 of 1 keys: mine" in accepted.stdout, "it stays EBADMSG here"
    host.restart()
    made = host.read("orders")
    assert len(made) == 32 and made != theirs


def test_what_a_running_host_wrote_into_a_table_made_anew_is_taken_out_again(launch, aws, table):
    host = launch(name="host")
    host.read("mine")
    cloud.remembered(host, cloud.store_id(aws, table))
    make_anew(aws, table)
    other = launch(name="other")
    other.read("theirs")
    assert seen.error_name(host.read, "orders") == "EIO"
    eventually(lambda: "Removed again: the item orders" in host.log(), 20, "it is told")
    assert set(cloud.items(aws, table)) == {"theirs"}
    # The id is as free as it was.
    assert len(other.read("orders")) == 32


def test_a_host_that_only_read_knows_its_table_too(launch, aws, table):
    maker = launch(name="maker")
    key = maker.read("orders")
    reader = launch(name="reader")
    assert reader.read("orders") == key
    seen_id = cloud.store_id(aws, table)
    cloud.remembered(reader, seen_id)
    make_anew(aws, table)
    reader.restart()
    assert seen.error_name(reader.read, "new") == "EIO"
    assert cloud.items(aws, table) == {}


def test_a_record_copied_from_another_table_is_refused(launch, aws, table):
    """The same master keys, another table: the regions alone could not tell."""
    theirs = launch(name="theirs")
    theirs.read("orders")
    item = cloud.items(aws, table)["orders"]
    other = f"{table}-other"
    aws.regions[0].make_table(other)
    host = launch(name="host", store={"table": other})
    host.read("mine")
    aws.regions[0].dynamodb_direct("PutItem", TableName=other, Item=item)
    assert seen.error_name(host.read, "orders") == "EBADMSG"
    eventually(lambda: "is bound to another store" in host.log(), 20, "it is told")

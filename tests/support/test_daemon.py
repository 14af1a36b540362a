"""The daemon fixture, tried on a real FUSE file system that takes keyfs's command line (tiny_fuse.py)."""
import json
import mmap
import os
import subprocess
import sys

import pytest

from . import daemon as d
from .container import Container
from .page_cache import PageCacheWatch, cached_pages
from .process import StartError, alive
from .users import UserProcess, run_as

FILES = {"orders": "0123456789abcdef0123456789abcdef", "other": "x" * 32}


@pytest.fixture
def program(tmp_path):
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        os.chmod(folder, 0o755)
    path = tmp_path / "tiny"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} {os.path.join(os.path.dirname(d.__file__), 'tiny_fuse.py')} \"$@\"\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def make(tmp_path, program):
    made = []

    def build(name="tiny", files=FILES, **more):
        daemon = d.Daemon(tmp_path, sections={}, name=name, program=program, **more)
        with open(daemon.config_file, "w") as f:
            json.dump(files, f)
        made.append(daemon)
        return daemon

    yield build
    for daemon in made:
        daemon.close()
        assert d.mounted(daemon.mount) is None and not daemon.alive()


def test_start_read_and_clean_end(make):
    daemon = make().start()
    assert d.mounted(daemon.mount) == "fuse.keyfs"
    assert daemon.read("orders") == FILES["orders"].encode()
    assert os.listdir(daemon.mount) == list(FILES)
    assert "mounted" in daemon.log()
    assert daemon.terminate() == 0
    assert d.mounted(daemon.mount) is None


def test_a_killed_daemon_leaves_a_dead_mount_that_is_cleaned_up(make):
    daemon = make().start()
    pid = daemon.pid
    daemon.kill()
    assert not alive(pid)
    with pytest.raises(OSError):
        daemon.read("orders")
    daemon.close()
    assert d.mounted(daemon.mount) is None


def test_one_that_doesnt_start_says_why(make, tmp_path):
    daemon = make()
    os.unlink(daemon.config_file)
    with pytest.raises(StartError, match="No such file"):
        daemon.start()


def test_one_that_doesnt_unmount_is_found_out(make, tmp_path, program):
    daemon = make().start()
    subprocess.run(["mount", "--bind", str(tmp_path), daemon.mount], check=True)  # something stays above it
    with pytest.raises(AssertionError, match="left"):
        daemon.terminate()


def test_several_at_once_and_other_users(make):
    daemons = [make(f"tiny{n}").start() for n in range(3)]
    assert {run_as(4001, 4001, [], ["cat", daemon.path("orders")]).stdout for daemon in daemons} == {FILES["orders"]}
    with UserProcess(4001, 4001) as user:
        assert user.mmap_read(daemons[0].path("orders")) == FILES["orders"].encode()


def test_a_container_reads_a_fuse_file_through_binds_of_the_folder_and_of_the_file(make):
    daemon = make().start()
    with Container([(daemon.mount, "/keys", ["ro"]), (daemon.path("other"), "/one", ["ro"])]) as container:
        assert container.run(["cat", "/keys/orders"], uid=4001, gid=4001).stdout == FILES["orders"].encode()
        assert container.run(["cat", "/one"], uid=4001, gid=4001).stdout == FILES["other"].encode()


def test_a_private_mapping_of_a_direct_io_file_leaves_a_page_and_a_read_does_not(make):
    """The residue that keyfs has to drop, and that the watch has to see."""
    daemon = make().start()
    with PageCacheWatch(os.stat(daemon.mount).st_dev) as watch:
        assert daemon.read("orders")
        assert watch.left() == []
        held = os.open(daemon.path("orders"), os.O_RDONLY)
        other = os.open(daemon.path("orders"), os.O_RDONLY)
        with mmap.mmap(other, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
            assert bytes(view) == FILES["orders"].encode()
        os.close(other)
        assert cached_pages(held) == 1
        assert watch.left() == [(2, 0)]
        os.close(held)
        assert watch.left() == [(2, 0)]


def test_configurations_are_written_in_order(tmp_path):
    sections = d.local_sections(tmp_path / "parts", policy={"a-*": {"read": ["uid:1", "gid:2"]}, "*": {"read": "any"}}, fresh_for="5m")
    text = open(d.write_config(tmp_path / "c.ini", sections)).read()
    assert text.index("[keys a-*]\nread = uid:1, gid:2\n") < text.index("[keys *]\nread = any\n")
    assert "fresh_for = 5m\n" in text and "[region local-c]\ntype = local\nkey_file = " in text
    key = tmp_path / "parts" / "local-a.key"
    assert key.stat().st_size == 32 and key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert d.local_sections(tmp_path / "parts")["region local-a"]["key_file"] == str(key)
    assert key.read_bytes() == before  # made once: daemons share it


def test_daemons_on_one_store_have_state_of_their_own(tmp_path, program):
    sections = d.local_sections(tmp_path / "parts")
    one, two = (d.Daemon(tmp_path, sections, name=name, program=program) for name in ("one", "two"))
    assert one.state_dir != two.state_dir and one.audit_file != two.audit_file
    for daemon in (one, two):
        text = open(daemon.config_file).read()
        assert f"state_dir = {daemon.state_dir}\n" in text and f"path = {tmp_path}/parts/keys.db\n" in text

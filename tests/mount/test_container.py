"""A real container (runc, busybox) reads a key through a bind mount."""
import os
import subprocess
import threading

import pytest

import seen
from support.container import Container
from support.process import eventually
from support.users import UserProcess

APP, OTHER, GROUP = 4001, 4002, 4100
POLICY = {"app-*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}, "team-*": {"read": f"gid:{GROUP}", "create": f"gid:{GROUP}"}, "root-*": seen.EVERYTHING}


@pytest.fixture
def keyfs(launch):
    daemon = launch(policy=POLICY)
    with UserProcess(APP, APP, [GROUP]) as app:
        daemon.key, daemon.team_key = app.read_file(daemon.path("app-key")), app.read_file(daemon.path("team-key"))
    return daemon


@pytest.fixture
def container(keyfs, folder):
    with Container([(keyfs.mount, "/keys", ["rbind", "ro"]), (keyfs.path("app-key"), "/run/app-key", ["ro"])], folder=folder) as container:
        yield container


@pytest.mark.parametrize("path", ["/keys/app-key", "/run/app-key"], ids=["directory", "single-file"])
def test_the_permitted_uid_reads_and_others_get_nothing(container, keyfs, path):
    done = container.run(["cat", path], uid=APP, gid=APP)
    assert (done.returncode, done.stdout, done.stderr) == (0, keyfs.key, b"")
    for uid in (OTHER, 0):
        done = container.run(["sh", "-c", f"cat {path}; cp {path} /tmp/x; dd if={path}; tail -c1 {path}"], uid=uid, gid=uid)
        assert done.returncode != 0 and done.stdout == b""
        assert done.stderr.count(b"Permission denied") == 4, done.stderr
    # A refusal's line is written behind its answer.
    eventually(lambda: {line["uid"] for line in keyfs.audit() if line["verdict"] == "denied"} == {OTHER, 0}, 10, "each refusal has its line")
    assert {line["id"] for line in keyfs.audit() if line["verdict"] == "denied"} == {"app-key"}


def test_groups_of_the_container_count(container, keyfs):
    assert container.run(["cat", "/keys/team-key"], uid=OTHER, gid=OTHER, groups=[GROUP]).stdout == keyfs.team_key
    assert container.run(["cat", "/keys/team-key"], uid=OTHER, gid=OTHER).stdout == b""
    assert container.run(["cat", "/keys/team-key"], uid=OTHER, gid=GROUP).stdout == keyfs.team_key


def test_it_is_listed_for_who_may_read(container):
    assert container.run(["ls", "/keys"], uid=APP, gid=APP).stdout == b"app-key\n"
    assert container.run(["ls", "/keys"], uid=OTHER, gid=OTHER).stdout == b""
    assert container.run(["stat", "-c", "%s %a %u", "/keys/app-key"], uid=OTHER, gid=OTHER).stdout == b"32 400 %d\n" % APP


def test_a_new_key_is_made_from_within(container, keyfs):
    key = container.run(["cat", "/keys/app-new"], uid=APP, gid=APP).stdout
    assert len(key) == 32
    with UserProcess(APP, APP) as app:
        assert app.read_file(keyfs.path("app-new")) == key
    assert container.run(["cat", "/keys/app-never"], uid=OTHER, gid=OTHER).stdout == b""


def test_nothing_is_written_from_within(container):
    done = container.run(["sh", "-c", "echo x > /keys/app-key; rm /keys/app-key; touch /keys/new; mkdir /keys/d; echo x > /run/app-key"], uid=APP, gid=APP)
    assert done.stderr.count(b"Read-only file system") == 5, done.stderr


def test_the_audit_names_the_process_in_the_container(container, keyfs):
    container.run(["cat", "/keys/app-key"], uid=APP, gid=APP)
    line = keyfs.audit()[-1]
    assert (line["id"], line["uid"], line["verdict"]) == ("app-key", APP, "allowed")
    assert os.path.basename(line["exe"]) == "busybox" and line["cgroup"].startswith("/") and line["pid"] > 1


def test_a_bind_of_the_parent_sees_the_daemon_that_was_started_anew(keyfs, folder):
    """As in the README: bind the directory above, as a slave."""
    above, news = folder / "above", folder / "news"
    keyfs.terminate()
    above.mkdir()
    news.mkdir(mode=0o777)
    news.chmod(0o777)
    keyfs.mount = str(above / "keys")
    os.mkdir(keyfs.mount)
    subprocess.run(["mount", "--bind", above, above], check=True)
    subprocess.run(["mount", "--make-shared", above], check=True)
    try:
        keyfs.start()
        with Container([(str(above), "/above", ["rbind", "rslave"]), (str(news), "/news", ["rbind"])], folder=folder) as container:
            script = "cat /above/keys/app-key > /news/first; until [ -e /news/again ]; do usleep 20000; done; cat /above/keys/app-key > /news/second"
            result = []
            thread = threading.Thread(target=lambda: result.append(container.run(["sh", "-c", script], uid=APP, gid=APP)))
            thread.start()
            try:
                eventually(lambda: (news / "first").exists() and (news / "first").read_bytes() == keyfs.key, 30, "the container has read it")
                keyfs.kill()
                keyfs.start()
            finally:
                (news / "again").touch()
                thread.join()
        assert result[0].returncode == 0, result[0].stderr
        assert (news / "second").read_bytes() == keyfs.key
    finally:
        keyfs.close()
        subprocess.run(["umount", "-l", above], check=True)

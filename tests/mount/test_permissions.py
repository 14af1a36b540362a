"""A user whom the policy doesn't name gets EACCES and not one byte, whatever else is going on."""
import contextlib
import os
import signal
import socket
import stat
import subprocess

import pytest

import seen
from support.users import UserProcess, run_as, setpriv

APP, OTHER, GROUP = 4001, 4002, 4100
POLICY = {"app-*": {"read": f"uid:{APP}", "create": f"uid:{APP}"}, "team-*": {"read": f"gid:{GROUP}", "create": f"gid:{GROUP}"},
          "open-*": {"read": "any"}, "root-*": seen.EVERYTHING}


@pytest.fixture
def keyfs(launch):
    daemon = launch(policy=POLICY)
    with user(APP) as app:
        app.read_file(daemon.path("app-key"))
    return daemon


@contextlib.contextmanager
def user(uid, gid=None, groups=()):
    with UserProcess(uid, gid or uid, groups) as process:
        yield process


def refused(process, keyfs, ident, why="EACCES"):
    path = keyfs.path(ident)
    for way in (process.read_file, process.mmap_read, process.open):
        assert seen.error_name(way, path) == why
    if why == "EACCES":
        assert process.access(path, os.R_OK) is False


def test_who_is_named_reads_and_nobody_else(keyfs):
    with user(APP) as app, user(OTHER) as other, user(0) as root:
        key = app.read_file(keyfs.path("app-key"))
        assert len(key) == 32
        assert app.access(keyfs.path("app-key"), os.R_OK) is True
        refused(other, keyfs, "app-key")
        refused(root, keyfs, "app-key")
        assert app.mmap_read(keyfs.path("app-key")) == key


def test_not_while_a_permitted_user_has_it_open_or_mapped(keyfs):
    path = keyfs.path("app-key")
    with user(APP) as app, user(OTHER) as other, user(0) as root:
        fd = app.open(path)
        key = app.read(fd, 100)
        for forbidden in (other, root):
            for _ in range(3):
                refused(forbidden, keyfs, "app-key")
                assert app.pread(fd, 100, 0) == key
        refused(other, keyfs, "app-key")
        app.close(fd)
        refused(other, keyfs, "app-key")


def test_nor_by_the_open_file_of_another_in_proc(keyfs):
    """Opening /proc/PID/fd/N of a permitted process is checked for the user who opens it."""
    with user(APP) as app, user(0) as root, user(OTHER) as other:
        fd = app.open(keyfs.path("app-key"))
        assert seen.error_name(root.read_file, f"/proc/{app.pid}/fd/{fd}") == "EACCES"
        assert seen.error_name(other.read_file, f"/proc/{app.pid}/fd/{fd}") == "EACCES"


def test_setpriv_to_another_uid(keyfs):
    """A program of root that becomes another user has that user's rights: no more, no less."""
    path = keyfs.path("app-key")
    done = run_as(OTHER, OTHER, [], ["cat", path])
    assert (done.returncode, done.stdout) == (1, "") and "Permission denied" in done.stderr
    assert len(run_as(APP, APP, [], ["cat", path], text=False).stdout) == 32
    with user(0) as program:
        assert seen.error_name(program.open, path) == "EACCES"
        program.setuid(APP)
        assert len(program.read_file(path)) == 32
        assert seen.error_name(program.open, keyfs.path("root-key")) == "EACCES"


def test_who_opened_it_reads_on_after_dropping_its_rights(keyfs):
    """The right is checked at open(2), as with any file."""
    with user(0) as program:
        key = program.read_file(keyfs.path("root-key"))
        fd = program.open(keyfs.path("root-key"))
        program.setuid(OTHER)
        assert program.read(fd, 100) == key
        assert seen.error_name(program.open, keyfs.path("root-key")) == "EACCES"


def test_a_descriptor_may_be_handed_over(keyfs):
    """A process that gets an open file from a permitted one can read it, as with any file."""
    path = keyfs.path("app-key")
    ours, theirs = socket.socketpair()
    sends = f"import os, socket\nsocket.send_fds(socket.socket(fileno={theirs.fileno()}), [b'x'], [os.open({path!r}, os.O_RDONLY)])"
    with ours, theirs:
        run_as(APP, APP, [], ["/usr/bin/python3", "-c", sends], pass_fds=[theirs.fileno()]).check_returncode()
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    try:
        passed = subprocess.run(setpriv(OTHER, OTHER, [], ["cat"]), stdin=fd, capture_output=True, check=True).stdout
    finally:
        os.close(fd)
    with user(APP) as app:
        assert passed == app.read_file(path)


@pytest.mark.parametrize("gid, groups, may", [(GROUP, [], True), (OTHER, [GROUP], True), (OTHER, [5000, 5001, GROUP, 5002], True),
                                              (OTHER, list(range(6000, 6040)) + [GROUP], True), (OTHER, [], False), (OTHER, [GROUP + 1], False)])
def test_supplementary_groups_count(keyfs, gid, groups, may):
    with user(OTHER, gid, groups) as member:
        if may:
            assert len(member.read_file(keyfs.path("team-key"))) == 32
            assert member.access(keyfs.path("team-key"), os.R_OK) is True
        else:
            refused(member, keyfs, "team-key")


def test_named_users_and_groups(launch, people):
    keyfs = launch(policy={"u-*": {"read": "user:keyfs-t1", "create": "user:keyfs-t1"}, "g-*": {"read": "group:keyfs-tg", "create": "group:keyfs-tg"}})
    with UserProcess(*people.ids("keyfs-t1")) as one, UserProcess(*people.ids("keyfs-t2")) as two, UserProcess(*people.ids("keyfs-t3")) as three:
        assert len(one.read_file(keyfs.path("u-key"))) == 32
        assert one.read_file(keyfs.path("g-key")) == two.read_file(keyfs.path("g-key"))
        refused(two, keyfs, "u-key")
        refused(three, keyfs, "u-key")
        refused(three, keyfs, "g-key")


def test_root_has_no_privilege_of_its_own(keyfs):
    with user(0) as root:
        refused(root, keyfs, "app-key")
        refused(root, keyfs, "app-new")
        refused(root, keyfs, "team-key")
        assert len(root.read_file(keyfs.path("root-key"))) == 32


def test_an_id_that_no_section_matches_does_not_exist(keyfs):
    for uid in (0, APP):
        with user(uid) as who:
            refused(who, keyfs, "unmatched", "ENOENT")
            assert seen.error_name(who.stat, keyfs.path("unmatched")) == "ENOENT"


@pytest.mark.parametrize("name, why", [("-x", "ENOENT"), ("a b", "ENOENT"), ("a*", "ENOENT"), ("\u00e9", "ENOENT"), (".hidden", "ENOENT"), ("a\nb", "ENOENT"),
                                       ("x" * 256, "ENAMETOOLONG"), ("x" * 4000, "ENAMETOOLONG")])
def test_names_that_are_none(launch, name, why):
    keyfs = launch()
    assert seen.error_name(os.stat, keyfs.path(name)) == why
    assert seen.error_name(os.open, keyfs.path(name), os.O_RDONLY) == why
    assert len(keyfs.read("x" * 255)) == 32 and len(keyfs.read("a.b_c:d@e+f=g,h~i-j")) == 32


def test_reading_is_not_creating(keyfs, db):
    with user(OTHER) as other:
        refused(other, keyfs, "open-key", "ENOENT")
    assert "open-key" not in seen.records(db)
    with user(OTHER) as other, user(APP) as app:
        app.read_file(keyfs.path("app-2"))
        refused(other, keyfs, "app-3")
    assert {"app-key", "app-2"} == seen.records(db).keys()


def test_not_one_byte_gets_out_by_another_way(keyfs):
    """What a refused user can do with a file that somebody else is using."""
    path = keyfs.path("app-key")
    with user(APP) as app:
        key = app.read_file(path)
        fd = app.open(path)
        out = []
        for command in (["cat", path], ["dd", f"if={path}", "iflag=direct", "bs=4096"], ["dd", f"if={path}", "bs=1"], ["tail", "-c", "1", path],
                        ["cp", path, "/dev/stdout"], ["tar", "-cf", "-", "-C", keyfs.mount, "app-key"], ["grep", "-c", "", path], ["xxd", path],
                        ["python3", "-c", f"import os; os.copy_file_range(os.open({path!r}, 0), 1, 32)"]):
            for uid in (OTHER, 0):
                done = run_as(uid, uid, [], command, text=False)
                assert done.returncode != 0, command
                out.append(done.stdout + done.stderr)
        assert app.read(fd, 100) == key
    assert not any(key[n:n + 4] in text for text in out for n in range(len(key) - 3))


def test_what_ls_shows_is_for_whom_the_policy_names(keyfs):
    app, team = os.stat(keyfs.path("app-key")), os.stat(keyfs.path("team-key"))
    assert (app.st_uid, stat.S_IMODE(app.st_mode)) == (APP, 0o400)
    assert (team.st_gid, stat.S_IMODE(team.st_mode)) == (GROUP, 0o440)
    assert app.st_nlink == 1 and app.st_size == 32


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_RDONLY | os.O_CREAT | os.O_EXCL])
def test_nobody_opens_it_to_write(keyfs, flags, db):
    before = seen.texts(db)
    with user(APP) as app:
        assert seen.error_name(app.open, keyfs.path("app-key"), flags) in ("EROFS", "EEXIST" if flags & os.O_EXCL else "EROFS")
        assert seen.error_name(app.open, keyfs.path("app-other"), flags) in ("EROFS", "EEXIST" if flags & os.O_EXCL else "EROFS")
    assert seen.texts(db) == before


def test_a_user_namespace_gives_no_rights(keyfs):
    """"root" of a user namespace is its outer uid to keyfs; the mapped uid 0 isn't the policy's uid:0."""
    done = run_as(OTHER, OTHER, [], ["unshare", "--user", "--map-root-user", "cat", keyfs.path("root-key")])
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 1 and done.stdout == "" and "Permission denied" in done.stderr
    done = run_as(APP, APP, [], ["unshare", "--user", "--map-root-user", "cat", keyfs.path("app-key")], text=False)
    assert len(done.stdout) == 32


def test_many_users_at_once(keyfs):
    """Permitted and forbidden at the same time, over and over: no forbidden one is ever let in."""
    script = f'for n in $(seq 150); do cat {keyfs.path("app-key")} 2>/dev/null; done'
    children = [(uid, subprocess.Popen(setpriv(uid, uid, [], ["bash", "-c", script]), stdout=subprocess.PIPE)) for uid in (APP, OTHER, 0, APP, OTHER, 4003)]
    try:
        for uid, child in children:
            out = child.communicate(timeout=100)[0]
            assert len(out) == (150 * 32 if uid == APP else 0), uid
    finally:
        for _, child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)

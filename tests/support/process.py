"""Child processes that never outlive the test run, and waiting without sleeping blindly.

Every child gets PR_SET_PDEATHSIG, so that it dies even when the test run is killed with SIGKILL. The kernel
sends that signal when the *thread* that started the child ends: start long-living children from the main thread.
"""
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

TESTS_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT_DIR = os.path.dirname(TESTS_DIR)

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class StartError(RuntimeError):
    """A part did not come up; the message carries what it printed."""


def die_with_parent(parent, first=False):
    """A preexec_fn: SIGKILL when the parent ends. The look at getppid closes the race with a parent already gone."""

    def apply():
        if first:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, -15)
            except PermissionError:
                pass
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return apply


def spawn(argv, first=False, **options):
    """subprocess.Popen for a child that dies with this process. A setuid step in the child clears the death
    signal: such children are started through users.run_as, which sets it again afterwards.

    first: it stands for the world outside (a server, the network before it), and runs before what is tested, where it may: on a machine that does other
    things too, what is tested would be blamed for a server that is late for want of a CPU."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(argv, preexec_fn=die_with_parent(os.getpid(), first), **options)


def python_env(**extra):
    """The environment in which `python -m support.x` finds this package, whatever the working directory."""
    env = dict(os.environ)
    env["PYTHONPATH"] = TESTS_DIR + (":" + env["PYTHONPATH"] if env.get("PYTHONPATH") else "")
    env["PYTHONDONTWRITEBYTECODE"] = env.get("PYTHONDONTWRITEBYTECODE", "1")
    env.update(extra)
    return env


def venv_python():
    """The Python that has moto: this one, or the one scripts/test made, or the one KEYFS_TEST_PYTHON names."""
    named = os.environ.get("KEYFS_TEST_PYTHON")
    if named:
        return named
    candidate = os.path.join(ROOT_DIR, "build", "test-venv", "bin", "python")
    return candidate if os.path.exists(candidate) else sys.executable


def start_json(argv, timeout=30, **options):
    """Starts a server that prints one line of JSON once it is ready. Returns (process, that object)."""
    process = spawn(argv, first=True, stdout=subprocess.PIPE, **options)
    line = b""
    deadline = time.monotonic() + timeout
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        ready = select.select([process.stdout], [], [], max(0, left))[0]
        piece = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not piece:
            stop(process)
            why = f"ended with {process.returncode}" if ready else f"was not ready after {timeout} s"
            raise StartError(f"{' '.join(argv)}: {why}; it printed {line!r}")
        line += piece
    return process, json.loads(line.split(b"\n")[0])


def stop(process, how=signal.SIGKILL, timeout=10):
    """Ends a child and reaps it. With a gentle signal it gets timeout seconds, then SIGKILL."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a stopped process ignores all but SIGKILL
        process.send_signal(how)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()
    return process.returncode


def why_not_root():
    """Why tests that mount, change user or make namespaces can't run here; "" when they can."""
    if os.geteuid() != 0:
        return "needs root"
    return "" if os.path.exists("/dev/fuse") else "needs /dev/fuse"


def eventually(check, timeout=20, what=None, every=0.01):
    """Calls check until it returns something true, and returns that. The time-out is for a broken test only."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or getattr(check, '__name__', check)}")
        time.sleep(every)


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False

"""The common end of the with_*.py programs: run a command with the parts' environment, and exit as it did."""
import contextlib
import os
import signal
import sys

from .process import spawn


def command(argv):
    """What stands behind `--`."""
    if "--" not in argv or argv[-1] == "--":
        sys.exit(f"usage: {os.path.basename(argv[0])} [options] -- COMMAND [ARGUMENTS]")
    return argv[argv.index("--") + 1:]


@contextlib.contextmanager
def started(argv, environment):
    """The running command. SIGTERM and SIGINT end it and, through the callers' `with`, all parts."""
    def leave(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    env = dict(os.environ)
    if "KEYFS_TEST_LAUNCHED" not in env:  # the caller's own AWS settings and HTTP proxies would lead the tests elsewhere
        env = {k: v for k, v in env.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
    process = spawn(argv, env={**env, "KEYFS_TEST_LAUNCHED": "1", **environment}, stdin=None)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def exit_code(process):
    """The command's own exit code; 128 + N when signal N ended it."""
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def run(argv, environment):
    with started(argv, environment) as process:
        process.wait()
    return exit_code(process)

"""The common end of the with_*.py programs: run a command with the parts' environment, and end as it ended."""
import os
import signal
import sys

from .process import spawn


def command(argv):
    """What stands behind `--`."""
    if "--" not in argv or argv[-1] == "--":
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} [options] -- COMMAND [ARGUMENTS]")
    return argv[argv.index("--") + 1:]


def run(argv, environment):
    """Runs the command to its end. SIGTERM and SIGINT end it and, through the callers' `with`, all parts."""
    def leave(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    # The caller's own AWS settings and HTTP proxies would lead the tests elsewhere.
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
    process = spawn(argv, env={**env, **environment}, stdin=None)
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return 128 - code if code < 0 else code

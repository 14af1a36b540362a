#!/usr/bin/env python3
"""Runs a command with the double of KMS (kms_double) in two regions.

usage: with_signing_kms.py [--regions us-east-1,us-west-2] -- COMMAND [ARGUMENTS]
The command finds KEYFS_TEST_SIGNING_N (the endpoint of region N), KEYFS_TEST_SIGNING_REGION_N (its name), KEYFS_TEST_SIGNING_ANY (one endpoint, the region
by the signature's scope) and KEYFS_TEST_SIGNING_CONTROL (the control port's URL: kms_double/server.py, ControlHandler), and credentials test / test."""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import launcher  # noqa: E402
from support.process import python_env, start_json, stop, venv_python  # noqa: E402


def environment(ports):
    env = {"KEYFS_TEST_SIGNING_REGIONS": str(len(ports["regions"])), "KEYFS_TEST_SIGNING_ANY": f"http://127.0.0.1:{ports['any']}",
           "KEYFS_TEST_SIGNING_CONTROL": f"http://127.0.0.1:{ports['control']}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
           "AWS_EC2_METADATA_DISABLED": "true"}
    for n, (name, port) in enumerate(ports["regions"].items(), 1):
        env[f"KEYFS_TEST_SIGNING_{n}"] = f"http://127.0.0.1:{port}"
        env[f"KEYFS_TEST_SIGNING_REGION_{n}"] = name
    return env


def main():
    argv = launcher.command(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", default="us-east-1,us-west-2")
    options = parser.parse_args(sys.argv[1:sys.argv.index("--")])
    process, ports = start_json([venv_python(), "-m", "support.kms_double", "--regions", options.regions], env=python_env())
    try:
        return launcher.run(argv, environment(ports))
    finally:
        stop(process)


if __name__ == "__main__":
    sys.exit(main())

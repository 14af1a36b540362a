#!/usr/bin/env python3
"""Runs a command with KMS, DynamoDB and STS (moto) in three regions, each behind a fault proxy.

usage: with_aws.py [--regions us-east-1,us-west-2,...] [--tables global|separate|none] -- COMMAND [ARGUMENTS]
The command finds everything in environment variables: README.md lists them."""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import launcher  # noqa: E402
from support.aws import REGIONS, Aws  # noqa: E402


def main():
    argv = launcher.command(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", default=",".join(REGIONS))
    parser.add_argument("--tables", choices=("global", "separate", "none"), default="global")
    options = parser.parse_args(sys.argv[1:sys.argv.index("--")])
    with Aws(options.regions.split(","), tables=options.tables) as aws:
        return launcher.run(argv, aws.environment())


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a command with the endpoints that hand out AWS credentials: IMDSv2, ECS, EKS Pod Identity, STS.

usage: with_credentials.py -- COMMAND [ARGUMENTS]
The command finds everything in environment variables: README.md lists them."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import launcher  # noqa: E402
from support.credentials import Credentials  # noqa: E402


def main():
    argv = launcher.command(sys.argv)
    with tempfile.TemporaryDirectory(prefix="keyfs-credentials-") as folder, Credentials(folder) as parts:
        return launcher.run(argv, parts.environment())


if __name__ == "__main__":
    sys.exit(main())

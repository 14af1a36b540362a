"""The double as a program: `python -m support.kms_double [--regions a,b]` (a Python that has cryptography; `python -m tests.support.kms_double` from
the project's folder) prints {"regions": {name: port}, "any": port, "control": port} and serves until it is ended. It is told what to do at the control port:
see ControlHandler of server.py; `curl -d '{"operation":"Sign","do":"hang"}' localhost:CONTROL/fault`."""
import argparse
import json
import threading

from . import REGIONS, KmsDouble


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", default=",".join(REGIONS))
    parser.add_argument("--unsigned", action="store_true", help="signatures of requests are not looked at")
    parser.add_argument("--aws-aliases", default="", help="AWS's own aliases that are listed, such as s3,ebs")
    options = parser.parse_args()
    more = {"credentials": None} if options.unsigned else {}
    with KmsDouble(options.regions.split(","), aws_aliases=[n for n in options.aws_aliases.split(",") if n], **more) as double:
        print(json.dumps(double.ports()), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

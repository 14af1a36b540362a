#!/usr/bin/env python3
"""Writes data/botocore_signatures.json: what botocore signs for requests like ours.

usage: python3 tests/base/make_botocore_signatures.py [--check]
Needs botocore (PyPI, or Debian's python3-botocore). --check compares instead of writing.
"""
import datetime
import json
import pathlib
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

FILE = pathlib.Path(__file__).parent / "data" / "botocore_signatures.json"
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = "IQoJb3JpZ2luX2VjEJ//////////wEaCXVzLWVhc3QtMSJH+/=="


def json_call(target, version, **more):
    return {"Content-Type": f"application/x-amz-json-{version}", "X-Amz-Target": target, **more}


def cases():
    kms = {"service": "kms", "method": "POST", "secret": False}
    for region, token in (("us-east-1", ""), ("eu-central-1", TOKEN)):
        url = f"https://kms.{region}.amazonaws.com/"
        yield {**kms, "region": region, "token": token, "url": url, "time": "2026-11-22T04:00:00Z",
               "headers": json_call("TrentService.Decrypt", "1.1"), "body": '{"CiphertextBlob":"AQID"}'}
        yield {**kms, "region": region, "token": token, "url": url, "time": "2026-11-22T04:00:00Z", "secret": True,
               "headers": json_call("TrentService.Encrypt", "1.1"), "body": '{"Plaintext":"c2VjcmV0"}'}
    yield {**kms, "region": "us-east-1", "token": TOKEN, "url": "http://127.0.0.1:5000/",
           "time": "2024-02-29T23:59:59Z", "headers": json_call("TrentService.GenerateDataKey", "1.1"), "body": "{}"}
    yield {**kms, "region": "us-east-1", "token": "", "url": "http://localhost:80/",
           "time": "2024-02-29T00:00:00Z", "headers": json_call("TrentService.GenerateDataKey", "1.1"), "body": "{}"}
    yield {**kms, "region": "us-east-1", "token": "", "url": "https://vpce-1.kms.us-east-1.vpce.amazonaws.com:443",
           "time": "2024-03-01T00:00:00Z", "headers": json_call("TrentService.DescribeKey", "1.1"), "body": "{}"}
    for target in ("GetItem", "PutItem"):
        yield {"service": "dynamodb", "method": "POST", "secret": False, "region": "us-west-2", "token": TOKEN,
               "url": "https://dynamodb.us-west-2.amazonaws.com/", "time": "2025-01-01T00:00:00Z",
               "headers": json_call("DynamoDB_20120810." + target, "1.0"), "body": '{"TableName":"keyfs","é":"ü"}'}
    yield {"service": "sts", "method": "POST", "secret": False, "region": "us-east-1", "token": "",
           "url": "https://sts.us-east-1.amazonaws.com/", "time": "2025-01-01T00:00:00Z",
           "headers": {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Accept": "application/json"},
           "body": "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"}
    yield {"service": "sts", "method": "GET", "secret": False, "region": "us-east-1", "token": TOKEN,
           "url": "https://sts.us-east-1.amazonaws.com/a%20b/c?Version=2011-06-15&Action=Get%2BIt&empty=&a=b%20c",
           "time": "2025-12-31T23:59:59Z", "headers": {"X-Spaces": "  a   b  "}, "body": ""}


def sign(case):
    request = AWSRequest(case["method"], case["url"], headers=case["headers"], data=case["body"].encode() or None)
    moment = datetime.datetime.strptime(case["time"], "%Y-%m-%dT%H:%M:%SZ")
    with mock.patch.object(botocore.auth, "datetime") as clock:
        clock.datetime.utcnow.return_value = moment
        clock.datetime.now.return_value = moment
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda: moment, create=True):
            credentials = Credentials(*KEYS, case["token"] or None)
            botocore.auth.SigV4Auth(credentials, case["service"], case["region"]).add_auth(request)
    return {**case, "access_key_id": KEYS[0], "secret_access_key": KEYS[1],
            "authorization": request.headers["Authorization"]}


text = json.dumps([sign(case) for case in cases()], indent=1, ensure_ascii=False) + "\n"
if "--check" in sys.argv:
    sys.exit(0 if FILE.read_text() == text else f"{FILE} is not what botocore signs now")
FILE.write_text(text)

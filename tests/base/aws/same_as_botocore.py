#!/usr/bin/env python3
"""keyfs reads profiles, splits commands and finds credentials as botocore does, on the same files and variables.

usage: with_credentials.py -- same_as_botocore.py PROGRAM    (PROGRAM: aws_reading)"""
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import botocore.exceptions
import botocore.session

PROGRAM = sys.argv.pop(1)
KEYS = "aws_access_key_id = AKIA{0}\naws_secret_access_key = secret{0}\n"

# Texts of a config file, and of a credentials file.
CONFIGS = {
    "plain": "[default]\nregion = eu-west-1\noutput=json\n[profile a]\nregion=us-east-1\n",
    "indented options": "[default]\n  region = a\n  output = json\n\tca_bundle = x\n",
    "an option indented under another goes on with its value": "[default]\nregion = a\n  output = json\n",
    "indented less again": "[default]\n    region = a\n  output = b\n    goes on\nlast = c\n",
    "indented section": "[default]\nregion = a\n  [profile b]\n[profile c]\n   region = d\n",
    "name: value": "[default]\nregion: eu-west-1\nrole_arn = arn:aws:iam::1:role/x\nurl : http://x=y:1\n",
    "upper case": "[default]\nREGION = a\nOutPut = B\nAWS_ACCESS_KEY_ID = AKIA\nAws_Secret_Access_Key = S\n",
    "the same in two cases": "[default]\nregion = a\nREGION = b\n",
    "comments behind values are none": "[default]\nregion = us-east-1 # here\noutput = json ; there\ncli_pager = #\n",
    "comment lines": "# a\n; b\n[default] # c\n  # d\nregion = a\n; e\noutput = b\n   ; f\n   goes on\n",
    "quoted commands": "[default]\ncredential_process = \"/bin/my prog\" '#x' \"a ; b\" c\\ d \"e\\\"f\\g\" ''\n[profile b]\ncredential_process = a # b ; c | d > e $F `g`\n",
    "unquoted ends": "[default]\ncredential_process = a 'b\n[profile b]\ncredential_process = a \"b\n[profile c]\ncredential_process = a \\\n",
    "a command over lines": "[default]\ncredential_process = a\n  b 'c\n  d' e\n\n  f\n",
    "a block": "[default]\ns3 =\n  addressing_style = path\n  max_queue_size = 1\nregion = a\n",
    "a block that is none": "[default]\ns3 =\n  addressing_style path\n",
    "a block after blank lines": "[default]\ns3 =\n\n\n  a = b\nregion = c\n",
    "an empty value": "[default]\nregion =\noutput =   \nca_bundle = x\n",
    "blank lines in a value": "[default]\nregion = a\n\n  b\n\n\noutput = c\n",
    "a comment in a value": "[default]\nregion = a\n# no\n  b\n  ; no\n  c\n",
    "section twice": "[default]\nregion = a\n[default]\noutput = b\n",
    "option twice": "[default]\nregion = a\nregion = b\n",
    "no section": "region = a\n[default]\n",
    "no separator": "[default]\nregion\n",
    "no name": "[default]\n= a\n",
    "section without an end": "[default\nregion = a\n",
    "a value that looks like one": "[default]\n[x = y\n",
    "empty section name": "[]\n",
    "names of profiles": "[profile a b]\nx=1\n[profile \"c d\"]\nx=2\n[profile 'e']\nx=3\n[profilex y]\nx=4\n[profile\tf]\nx=5\n[profile]\nx=6\n[profile \"g]\nx=7\n",
    "blanks in brackets": "[ default ]\nx=1\n[profile  h ]\nx=2\n[ profile i]\nx=3\n",
    "two spellings of one": "[profile a]\nx=1\ny=1\n[profile \"a\"]\nx=2\n[default]\nz=1\n[profile default]\nz=2\n",
    "other sections": "[plugins]\nx=1\n[sso-session s]\ny=2\n[services z]\nkms =\n  endpoint_url = http://x\n[default]\nregion=a\n",
    "a default for all": "[DEFAULT]\nregion = all\naws_session_token = t\n[default]\noutput = a\n[profile b]\nregion = own\n",
    "line ends of others": "[default]\r\nregion = a\r\n  b\r\n\r\n[profile c]\rregion = d\r",
    "other blanks": "[default]\n\vregion\f=\fa\f\n\toutput = b\n",
    "no last line end": "[default]\nregion = a",
    "brackets": "[profile a]b]\nx=1\n[profile c] d\nx=2\n",
    "keys in the config file": "[default]\n" + KEYS.format("C") + "aws_session_token = tokenC\n",
    "a secret over lines": "[default]\naws_secret_access_key = a\n  b\n",
    "nothing": "",
}
CREDENTIALS = {
    "none": None,
    "keys": "[default]\n" + KEYS.format("D") + "[other]\n" + KEYS.format("O") + "aws_security_token = t\n",
    "names as they stand": "[ default ]\nx=1\n[profile p]\nx=2\n[\"q\"]\nx=3\n[a]b]\nx=4\n",
    "settings of both": "[default]\nregion = of credentials\nAWS_SESSION_TOKEN: t\n",
}


def files(folder, config, credentials):
    paths = []
    for name, text in (("config", config), ("credentials", credentials)):
        path = os.path.join(folder, name)
        paths.append(path)
        if os.path.exists(path):
            os.remove(path)
        if text is not None:
            with open(path, "w", newline="") as out:
                out.write(text)
    return paths


def keyfs(*arguments, env=None):
    done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, env=env, timeout=60, check=True)
    return json.loads(done.stdout)


class InAFolder(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory(prefix="keyfs-botocore-")
        self.addCleanup(made.cleanup)
        self.folder = made.name


class Files(InAFolder):
    def botocore(self, config, credentials):
        """{profile: {name: value}} without blocks, or None for files that it refuses."""
        with mock.patch.dict(os.environ, {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}, clear=True):
            try:
                profiles = botocore.session.Session().full_config["profiles"]
            except botocore.exceptions.ConfigParseError:
                return None
        return {name: {k: v for k, v in values.items() if isinstance(v, str)} for name, values in profiles.items()}

    def test_profiles_are_read_and_commands_are_split_as_botocore_does(self):
        for config_name, config in CONFIGS.items():
            for credentials_name, credentials in CREDENTIALS.items():
                with self.subTest(config=config_name, credentials=credentials_name):
                    paths = files(self.folder, config, credentials)
                    theirs = self.botocore(*paths)
                    ours = keyfs("profiles", *paths)
                    if theirs is None:
                        self.assertIn("error", ours)
                        self.assertRegex(ours["error"], r"^\S+/(config|credentials):[0-9]+: ")
                        continue
                    self.assertNotIn("error", ours)
                    read = {name: {**p["settings"], **p["config"], **p["credentials"]} for name, p in ours["profiles"].items()}
                    self.assertEqual(read, theirs)
                    for name, profile in theirs.items():
                        if "credential_process" in profile:
                            try:
                                words = shlex.split(profile["credential_process"])
                            except ValueError:
                                words = None
                            self.assertEqual(ours["profiles"][name]["words"], words)


PROCESS = "credential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"AKIAPROCESS\", \"SecretAccessKey\": \"s\"}'\n"
ROLE = "role_arn = arn:aws:iam::123456789012:role/r\n"
WEB = "web_identity_token_file = TOKEN\n"
ENV_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s"}
ENV_WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "TOKEN", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/e"}
ENV_ECS = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": os.environ["KEYFS_TEST_ECS_URI"]}
ALL = {**ENV_KEYS, **ENV_WEB, **ENV_ECS}
DEFAULT = "[default]\n"

# name: (config, credentials, environment, a profile of the caller's own). Each takes away what came first in the one before.
SOURCES = {
    "1 environment": (DEFAULT + ROLE + "source_profile = s\n" + PROCESS + KEYS.format("C") + "[profile s]\n" + KEYS.format("S"), DEFAULT + KEYS.format("D"), ALL, ""),
    "2 role": (DEFAULT + ROLE + "source_profile = s\n" + PROCESS + KEYS.format("C") + "[profile s]\n" + KEYS.format("S"), DEFAULT + KEYS.format("D"), {**ENV_WEB, **ENV_ECS}, ""),
    "3 web identity of the environment": (DEFAULT + ROLE + WEB + PROCESS + KEYS.format("C"), DEFAULT + KEYS.format("D"), {**ENV_WEB, **ENV_ECS}, ""),
    "4 web identity of the profile": (DEFAULT + ROLE + WEB + PROCESS + KEYS.format("C"), DEFAULT + KEYS.format("D"), ENV_ECS, ""),
    "5 keys of the credentials file": (DEFAULT + PROCESS + KEYS.format("C"), DEFAULT + KEYS.format("D"), ENV_ECS, ""),
    "6 process": (DEFAULT + PROCESS + KEYS.format("C"), None, ENV_ECS, ""),
    "7 keys of the config file": (DEFAULT + KEYS.format("C"), None, ENV_ECS, ""),
    "8 container": (DEFAULT + "region = us-east-1\n", None, ENV_ECS, ""),
    "9 instance": (None, None, {}, ""),
    "a profile of one's own goes before the environment": ("[profile p]\n" + KEYS.format("P"), None, ALL, "p"),
    "and before its web identity": ("[profile p]\n" + PROCESS, None, ENV_WEB, "p"),
    "AWS_PROFILE does not": ("[profile p]\n" + KEYS.format("P"), None, {**ALL, "AWS_PROFILE": "p"}, ""),
    "nor before the web identity": ("[profile p]\n" + KEYS.format("P"), None, {**ENV_WEB, "AWS_PROFILE": "p"}, ""),
    "a role of AWS_PROFILE goes before the web identity": ("[profile p]\n" + ROLE + "credential_source = Environment\n", None, {**ENV_WEB, "AWS_PROFILE": "p"}, ""),
    "AWS_PROFILE that is not there": ("[profile p]\n" + KEYS.format("P"), None, {**ENV_ECS, "AWS_PROFILE": "q"}, ""),
    "an empty profile goes on to the container": ("[profile p]\nregion = x\n", None, {**ENV_ECS, "AWS_PROFILE": "p"}, ""),
    "a token without its role": (DEFAULT + WEB, None, {}, ""),
    "the environment's role with the profile's token": (DEFAULT + WEB, None, {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/e"}, ""),
    "a role and no source": (DEFAULT + ROLE, DEFAULT + KEYS.format("D"), {}, ""),
    "a role and two sources": (DEFAULT + ROLE + "source_profile = s\ncredential_source = Environment\n", "[s]\n" + KEYS.format("S"), {}, ""),
    "a role by itself": (DEFAULT + ROLE + "source_profile = default\n" + KEYS.format("C"), None, {}, ""),
    "a role by itself without keys": (DEFAULT + ROLE + "source_profile = default\n" + PROCESS, None, {}, ""),
    "a source's keys go before its role": (DEFAULT + ROLE + "source_profile = s\n[profile s]\n" + ROLE + "source_profile = t\n" + KEYS.format("S") + "[profile t]\n" + KEYS.format("T"), None, {}, ""),
    "a source's process": (DEFAULT + ROLE + "source_profile = s\n[profile s]\n" + PROCESS, None, ENV_WEB, ""),
    "a source's web identity": (DEFAULT + ROLE + "source_profile = s\n[profile s]\n" + ROLE + WEB, None, {}, ""),
    "roles after each other": (DEFAULT + ROLE + "source_profile = s\n[profile s]\n" + ROLE + "source_profile = t\n[profile t]\n" + KEYS.format("T"), None, {}, ""),
    "roles in a circle": (DEFAULT + ROLE + "source_profile = s\n[profile s]\n" + ROLE + "source_profile = default\n", None, {}, ""),
    "a source that is not there": (DEFAULT + ROLE + "source_profile = s\n", None, {}, ""),
    "a source without credentials": (DEFAULT + ROLE + "source_profile = s\n[profile s]\nregion = x\n", None, ENV_ECS, ""),
    "a role by the environment": (DEFAULT + ROLE + "credential_source = Environment\n", None, {"AWS_PROFILE": "default", **ENV_ECS}, ""),
    "a role by the container": (DEFAULT + ROLE + "credential_source = EcsContainer\n", None, ENV_ECS, ""),
    "a role by the instance": (DEFAULT + ROLE + "credential_source = Ec2InstanceMetadata\n", None, ENV_ECS, ""),
    "a role by something else": (DEFAULT + ROLE + "credential_source = Elsewhere\n", None, ENV_ECS, ""),
    "keys are not put together from two files": (DEFAULT + "aws_access_key_id = AKIAC\n", DEFAULT + "aws_secret_access_key = s\n", {}, ""),
    "half a key": (DEFAULT + "aws_access_key_id = AKIAC\n", None, {}, ""),
    "single sign-on goes before keys": (DEFAULT + "sso_account_id = 1\nsso_role_name = r\n" + KEYS.format("C"), DEFAULT + KEYS.format("D"), {}, ""),
    "a role in the credentials file": (None, DEFAULT + ROLE + "source_profile = s\n[s]\n" + KEYS.format("S"), {}, ""),
}
KINDS = (("the environment", "env"), ("the credential_process", "custom-process"), ("the container's", "container-role"), ("the instance's", "iam-role"),
         ("the profile", "keys"))
KEY_METHODS = ("shared-credentials-file", "config-file")


def our_chain(origin):
    """["assume-role", "keys"] of "the role arn:... by the profile s"."""
    chain = []
    while origin:
        if origin.startswith("the role "):
            origin = origin.split(" by ", 1)[1]
            if origin.startswith("the web identity"):
                return chain + ["assume-role-with-web-identity"]
            chain.append("assume-role")
            continue
        return chain + [kind for words, kind in KINDS if origin.startswith(words)]
    return chain


def their_chain(credentials):
    chain = []
    while True:
        chain.append("keys" if credentials.method in KEY_METHODS else credentials.method)
        if credentials.method != "assume-role":
            return chain
        credentials = credentials._refresh_using.__self__._source_credentials


class Sources(InAFolder):
    def test_each_source_has_its_place_in_botocores_order(self):
        with open(os.path.join(self.folder, "token"), "w") as out:
            out.write("web identity token 1")
        for name, (config, credentials, variables, profile) in SOURCES.items():
            with self.subTest(name):
                here = [None if t is None else t.replace("TOKEN\n", self.folder + "/token\n") for t in (config, credentials)]
                paths = files(self.folder, *here)
                env = {"HOME": self.folder, "PATH": os.environ["PATH"], "AWS_CONFIG_FILE": paths[0], "AWS_SHARED_CREDENTIALS_FILE": paths[1],
                       "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT": os.environ["KEYFS_TEST_CREDENTIALS"],
                       "AWS_ENDPOINT_URL_STS": os.environ["KEYFS_TEST_CREDENTIALS"],
                       **{k: self.folder + "/token" if v == "TOKEN" else v for k, v in variables.items()}}
                ours = keyfs("source", profile, env=env)
                with mock.patch.dict(os.environ, env, clear=True):
                    try:
                        theirs = botocore.session.Session(profile=profile or None).get_credentials()
                    except botocore.exceptions.BotoCoreError as refusal:
                        self.assertIn("error", ours, f"botocore: {refusal}")
                        self.assertEqual(ours["origin"], "")
                        continue
                    self.assertEqual(our_chain(ours["origin"]), their_chain(theirs), ours)
                    if theirs.method in (*KEY_METHODS, "env", "custom-process"):
                        self.assertEqual(ours.get("access_key_id"), theirs.access_key)


if __name__ == "__main__":
    unittest.main()

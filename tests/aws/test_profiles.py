"""A region whose credentials cannot be had is a failed region like any other: keys are read and made through the others."""
import json

import pytest

import cloud
from mount import seen

CONFIG = """[profile good]
aws_access_key_id = AKIATEST
aws_secret_access_key = secret
[profile circle]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = middle
[profile middle]
role_arn = arn:aws:iam::123456789012:role/y
source_profile = circle
[profile no-source]
role_arn = arn:aws:iam::123456789012:role/x
[profile lost-source]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = nobody
[profile moon]
role_arn = arn:aws:iam::123456789012:role/x
credential_source = Moon
[profile sso]
sso_account_id = 1
[profile silent]
credential_process = "sh
"""
MISTAKES = ["nosuch", "circle", "no-source", "lost-source", "moon", "sso", "silent"]


@pytest.fixture
def profiles(folder):
    path = folder / "aws.config"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return {"AWS_CONFIG_FILE": str(path), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none")}


@pytest.mark.parametrize("bad", [0, 2], ids=["first", "last"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_keys_are_read_and_made_while_a_regions_profile_is_wrong(launch, aws, table, profiles, mistake, bad):
    key = launch(name="before").read("old")
    names = [r.name for r in aws.regions]
    given = {name: {"profile": mistake if n == bad else "good"} for n, name in enumerate(names)}
    keyfs = launch(name="after", env=profiles, regions=given, create_min_regions=2)
    assert keyfs.read("old") == key
    made = keyfs.read("opened")
    done = keyfs.cli("create", "commanded", "--json")
    assert done.returncode == 3, done
    assert [m["region"] for m in json.loads(done.stdout)["keys"][0]["missing"]] == [names[bad]]
    for ident in ("opened", "commanded"):
        assert cloud.wrapped_in(cloud.records(aws, table)[ident]) == set(names) - {names[bad]}
    assert launch(name="later").read("opened") == made

    checked = keyfs.cli("check", "--json")
    assert checked.returncode == 3, checked
    part = next(p for p in json.loads(checked.stdout)["parts"] if p["part"].startswith(f"region {names[bad]}"))
    failed = [item for item in part["items"] if not item["ok"]]
    assert failed and "profile" in failed[0]["detail"] and "credentials" in failed[0]["remedy"], part


def test_with_every_profile_wrong_the_message_names_every_region(launch, aws, profiles):
    keyfs = launch(env=profiles, regions={r.name: {"profile": "nosuch"} for r in aws.regions})
    assert seen.error_name(keyfs.read, "new") == "EIO"
    line = cloud.said(keyfs, "new")
    for region in aws.regions:
        assert f"{region.name}: " in line
    assert "there is no AWS profile nosuch" in line
    done = keyfs.cli("create", "other")
    assert done.returncode == 1 and "there is no AWS profile nosuch" in done.stderr, done

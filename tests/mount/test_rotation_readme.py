"""The README's chapter about rotation over many hosts, as it is printed there: its configuration, and its commands."""
import json
import os
import re
import signal
import time

import pytest

from rotation_fleets import ANYBODY, running
from support.cli import DONE, PARTIAL
from support.process import ROOT_DIR, eventually
from support.rotation import FIRST_UID, Consumer
from support.webhook import Webhook


def chapter():
    with open(os.path.join(ROOT_DIR, "README.md")) as f:
        return re.search(r"^## Rotation over many hosts\n(.*?)^## ", f.read(), re.S | re.M)[1]


def printed():
    """{section: {key: the rest of the line, with what is said about it}} of its one example."""
    block, = re.findall(r"^```ini\n(.*?)^```$", chapter(), re.S | re.M)
    sections = {}
    for line in block.splitlines():
        if line.startswith("["):
            entries = sections[line.strip("[]")] = {}
        elif line:
            key, value = line.split(" = ", 1)
            entries[key] = value
    return sections


def commands():
    """The lines of its one block of commands, without what is said about them."""
    block, = re.findall(r"^```\n(keyfs rotation show.*?)^```$", chapter(), re.S | re.M)
    return [line.split("#")[0].split()[1:] for line in block.splitlines()]


@pytest.fixture
def fleet(request, tmp_path_factory):
    """One host, configured as is printed, but for who nginx is and that it may read, where the messages go, and times."""
    sections = printed()
    nginx, timed = sections["consumer nginx"], sections["keys tls-*"]
    nginx.update(match=f"uid:{FIRST_UID}", timeout=nginx["timeout"].replace("30s", "1s"))
    consumer = Consumer("nginx", 0, FIRST_UID, ["tls-a", "tls-b"], section=nginx)
    with Webhook() as webhook:
        rotation = {key: value for key, value in sections["rotation"].items() if key != "webhook_file"}
        with running("sqlite", request, tmp_path_factory, webhook, {"settle": "500ms", **rotation}, {"tls-*": {**timed, **ANYBODY["*"]}}, hosts=1, consumers=[consumer]) as made:
            yield made


def test_a_consumer_that_is_configured_as_printed_is_told_and_what_fails_is_done_again(fleet):
    assert set(printed()) == {"rotation", "consumer nginx", "keys tls-*"}
    assert {"read", "create", "admin"} < set(printed()["keys tls-*"]), "pasted as is, somebody may open them"
    known = json.loads(fleet.hosts[0].read(".keyfs/rotation"))
    assert "nginx" in json.dumps(known) and "tls-a" in json.dumps(known)
    outcome = fleet.run("rotate", "--wait", "tls-a", "tls-b")
    assert outcome.states == {"nginx": "ok"} and outcome.report["complete"] and [x["version"] for x in outcome.report["keys"]] == [2, 2]
    os.kill(fleet.pid_of("nginx"), signal.SIGSTOP)
    outcome = fleet.run("rotate", "--wait", "tls-a", code=PARTIAL)
    assert outcome.states == {"nginx": "failed"} and "tls-a/3" in outcome.reasons["nginx"], outcome.reasons
    message, = fleet.webhook.texts(outcome.run)
    assert "nginx" in message and f"keyfs rotation retry {outcome.run}" in message
    now = time.time()
    os.kill(fleet.pid_of("nginx"), signal.SIGCONT)
    eventually(lambda: fleet.first_opened({"nginx": now}).get(("nginx", "tls-a")) == 3, what="it has taken the signal after all")
    # As they are printed, for this run.
    for words in commands():
        if words[0] == "rotation":
            words = [{"run-00000012": outcome.run, "web-7": outcome.hosts["nginx"]}.get(word, word) for word in words]
            done = fleet.cli(*words)
            assert done.returncode == {"show": PARTIAL, "list": DONE, "retry": DONE, "done": DONE, "stop": DONE}[words[1]], done
            if words[1] == "retry":
                eventually(lambda: fleet.board.runs()[outcome.run]["attempt"] == 2 and not fleet.board.going() and fleet.over(), 30, "it was done again")
                assert fleet.report(outcome.run)["complete"]
        else:
            assert words == ["status"]
    assert [run["state"] for run in fleet.listed()] == ["complete", "complete"]

"""Nobody pays for somebody else: what one user opens and creates without end leaves others their places, their turns and their rate."""
import bisect
import datetime
import errno
import statistics
import subprocess
import sys
import time

import seen
from support.process import eventually
from support.users import setpriv

GREEDY, OTHER = 4001, 4002
POLICY = {"new-*": {"read": f"uid:{GREEDY}", "create": f"uid:{GREEDY}"}, "old-*": {"read": f"uid:{OTHER}, uid:0", "create": "uid:0"}}

# Threads that open new ids for ever; a line once they are at it.
FLOOD = """
import os, sys, threading
def flood(n):
    i = 0
    while True:
        i += 1
        try:
            os.close(os.open(f"{sys.argv[1]}-{n}-{i}", os.O_RDONLY))
        except OSError:
            pass
for n in range(int(sys.argv[2])):
    threading.Thread(target=flood, args=(n,), daemon=True).start()
print("at it", flush=True)
sys.stdin.read()
os._exit(0)
"""

# Opens keys that were never read here, one after the other: how long it took, and the errors.
COLD = """
import os, sys, time
errors, begin = [], time.monotonic()
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    try:
        file = os.open(f"{sys.argv[1]}{n}", os.O_RDONLY)
        assert len(os.read(file, 64)) == 32
        os.close(file)
    except OSError as e:
        errors.append(e.errno)
print(time.monotonic() - begin, *errors)
"""


def of_the_flood_meanwhile(audit, uid):
    """For each open of a user, how many keys of the flood were made from when keyfs had it until it was answered, by the server's own times: what the open waited
    for, however fast the machine is and whatever else it does."""
    def begun(line):
        return datetime.datetime.fromisoformat(line["time"]).timestamp() * 1e6

    ends = sorted(begun(line) + line["us"] for line in audit if line["uid"] == GREEDY and line["created"])
    return [bisect.bisect(ends, begun(line) + line["us"]) - bisect.bisect(ends, begun(line)) for line in audit if line["uid"] == uid and line["verdict"] == "allowed"]


def test_a_cold_open_waits_for_a_few_opens_of_a_user_who_floods_and_not_for_all_of_them(launch):
    count = 40
    maker = launch(policy=POLICY, creates_per_second=100000)
    for n in range(count):
        maker.read(f"old-{n}")
    maker.terminate()
    # No rate holds the flood back: it is the turns that are looked at.
    keyfs = launch(policy=POLICY, creates_per_second=100000)
    flood = [subprocess.Popen(setpriv(GREEDY, GREEDY, [], [sys.executable, "-c", FLOOD, keyfs.path(f"new-{n}"), "150"]), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) for n in range(4)]
    try:
        for process in flood:
            assert process.stdout.readline() == "at it\n"
        eventually(lambda: seen.status(keyfs)["keyring"]["waiting_opens"] > 400, what="many of them wait")
        argv = [sys.executable, "-c", COLD, keyfs.path("old-"), "0", str(count)]
        _, *errors = subprocess.run(setpriv(OTHER, OTHER, [], argv), capture_output=True, text=True, check=True).stdout.split()
        assert not errors
        eventually(lambda: seen.status(keyfs)["audit"]["lines"] > 1000, 60, "the flood goes on")
    finally:
        for process in flood:
            process.stdin.close()
        for process in flood:
            process.wait()
    keyfs.terminate()
    audit = [line for line in keyfs.audit() if line["event"] == "open"]
    # Its own opens wait for each other: first in, first out, the other user would wait for as many.
    queue = statistics.median(of_the_flood_meanwhile(audit, GREEDY))
    assert queue > 200
    waited = of_the_flood_meanwhile(audit, OTHER)
    assert len(waited) == count
    # At most twelve are under way, and whatever one waits for in a turn (the store, a region, the replica) they may be in front of it.
    assert statistics.median(waited) <= 48 and max(waited) < queue / 2, waited


def test_who_creates_too_many_keys_is_slowed_down_and_reads_on(launch):
    keyfs = launch(policy={"*": seen.EVERYTHING}, creates_per_second=2, open_deadline="2s")
    began = time.monotonic()
    for n in range(24):
        keyfs.read(f"key-{n}")
    assert time.monotonic() - began >= 1.5  # twenty at once, then two a second
    with seen.within(1, "reads of what there is"):
        for n in range(20):
            keyfs.read(f"key-{n}")
    openers = [subprocess.Popen([sys.executable, "-c", COLD, keyfs.path(f"more-{n}-"), "0", "1"], stdout=subprocess.PIPE, text=True) for n in range(20)]
    errors = [error for process in openers for error in process.communicate()[0].split()[1:]]
    assert errors.count(str(errno.EAGAIN)) >= 10
    assert set(errors) <= {str(errno.EAGAIN), str(errno.ETIMEDOUT)}  # the latter where a busy machine took too long to make one
    eventually(lambda: any("creates_per_second" in line for line in keyfs.log().splitlines()), what="the log's line")

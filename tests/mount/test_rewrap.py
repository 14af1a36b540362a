"""keyfs rewrap: every version under today's masters, byte for byte the same, with the old masters gone afterwards."""
import datetime
import json
import os
import time

import pytest

import seen
from support.cli import DONE, FAILED, PARTIAL, USAGE, error_of, run
from support.daemon import binary, local_sections, master_file, unmount, write_config
from support.process import eventually, spawn

REGIONS = ["local-a", "local-b", "local-c"]
IDS = ["orders", "bills", "users"]


class Site:
    """One host on a SQLite file, whose masters and regions the test changes."""

    def __init__(self, folder):
        self.folder, self.parts, self.state = folder, folder / "parts", folder / "state"
        self.db = str(self.parts / "keys.db")
        self.sections = local_sections(self.parts)
        self.sections["keyfs"] = {"state_dir": self.state, "audit": "off", "background_calls_per_second": 10000}
        self.sections["admin"] = {"read": "uid:0"}
        self.config = str(folder / "keyfs.ini")
        self.write()

    def write(self):
        write_config(self.config, self.sections)

    def region(self, name):
        return self.sections[f"region {name}"]

    def change_masters(self):
        """The old files, by region."""
        old = {}
        for name in REGIONS:
            old[name] = self.region(name)["key_file"]
            self.region(name)["key_file"] = master_file(f"{old[name]}.new")
            self.region(name)["previous_key_files"] = old[name]
        self.write()
        return old

    def forget(self, old):
        for name, path in old.items():
            del self.region(name)["previous_key_files"]
            os.remove(path)
        self.write()

    def run(self, *args):
        return run(args[0], "-c", self.config, *args[1:])

    def rewrap(self, *args, code=DONE):
        done = self.run("rewrap", "--json", *args)
        assert done.returncode == code, done
        return json.loads(done.stdout)

    def masters(self):
        """Of every wrap in the store."""
        return [wrap["key"] for record in seen.records(self.db).values() for version in record["versions"].values() for wrap in version["wrapped"].values()]

    def read_versions(self, place, ids=IDS):
        assert self.run("mount", place).returncode == DONE
        try:
            versions = place / ".keyfs" / "versions"
            return {(ident, number): (versions / ident / number).read_bytes() for ident in ids for number in seen.records(self.db)[ident]["versions"]}
        finally:
            unmount(place)


@pytest.fixture
def site(folder):
    made = Site(folder)
    assert made.run("create", *IDS).returncode == DONE
    assert made.run("rotate", "orders", "bills").returncode == DONE
    return made


def test_under_three_new_masters_every_version_reads_the_same_without_the_old_ones(site, place):
    before, old_masters = site.read_versions(place), set(site.masters())
    assert len(before) == 5 and len(set(before.values())) == 5
    old = site.change_masters()
    assert site.read_versions(place) == before, "previous masters unwrap"
    site.rewrap()
    site.forget(old)
    assert not old_masters & set(site.masters()) and len(site.masters()) == 15
    assert site.read_versions(place) == before
    assert site.run("list").returncode == site.run("check").returncode == DONE
    again = site.rewrap()
    assert (again["keys"], again["whole"], again["wraps"], again["calls"]) == (3, 3, 0, 0)


def test_a_dry_run_writes_nothing_and_counts_what_the_run_does(site):
    site.change_masters()
    rows = seen.texts(site.db)
    planned = site.rewrap("--dry-run")
    assert seen.texts(site.db) == rows and not (site.state / "rewrap").exists()
    assert "0 of them to KMS: $0.0000" in site.run("rewrap", "--dry-run").stdout
    done = site.rewrap()
    same = ["keys", "whole", "rewrapped", "versions", "wraps", "dropped", "calls", "kms_calls", "price_usd"]
    assert {k: planned[k] for k in same} == {k: done[k] for k in same}
    assert (done["wraps"], done["versions"], done["calls"]) == (15, 5, 5 * 7)
    assert (planned["dry_run"], done["dry_run"]) == (True, False)


def test_killed_in_the_middle_and_run_again_it_makes_each_wrap_once(site):
    more = [f"key{number:04}" for number in range(450)]
    assert site.run("create", *more).returncode == DONE
    old_masters = set(site.masters())
    all_wraps = len(site.masters())
    site.change_masters()
    site.sections["keyfs"]["background_calls_per_second"] = 1500
    site.write()
    working = spawn([binary(), "rewrap", "-c", site.config])
    eventually((site.state / "rewrap").exists, what="the first page is done")
    working.kill()
    working.wait()
    # Its child ends with it; no write of it comes later.
    made = 0
    while made != (made := sum(master not in old_masters for master in site.masters())):
        time.sleep(0.2)
    assert 0 < made < all_wraps
    rest = site.rewrap()
    assert rest["resumed"] and made + rest["wraps"] == all_wraps
    assert rest["keys"] < len(more) + len(IDS), "the first page is not gone through again"
    assert not old_masters & set(site.masters())
    assert not (site.state / "rewrap").exists()
    assert site.rewrap()["wraps"] == 0


def test_other_arguments_begin_from_the_start(site):
    more = [f"key{number:04}" for number in range(250)]
    assert site.run("create", *more).returncode == DONE
    site.state.joinpath("rewrap").write_text(json.dumps({"what": "something else", "after": b"key0200".hex()}))
    site.state.joinpath("rewrap").chmod(0o600)
    done = site.rewrap()
    assert not done["resumed"] and done["keys"] == len(more) + len(IDS)


def test_a_new_region_gets_its_wraps_and_one_that_was_removed_is_dropped(site, place):
    before = site.read_versions(place)
    site.sections["region local-d"] = {"type": "local", "key_file": master_file(str(site.parts / "local-d.key"))}
    gone = site.sections.pop("region local-a")
    site.write()
    planned, done = site.rewrap("--dry-run", "--drop", "local-a"), site.rewrap("--drop", "local-a")
    assert (done["wraps"], done["dropped"]) == (planned["wraps"], planned["dropped"]) == (5, 5)
    os.remove(gone["key_file"])
    wrapped = [set(v["wrapped"]) for record in seen.records(site.db).values() for v in record["versions"].values()]
    assert wrapped == [{"local-b", "local-c", "local-d"}] * 5
    assert site.read_versions(place) == before
    assert site.rewrap("--drop", "local-a")["dropped"] == 0


def test_a_region_is_not_dropped_while_too_few_others_unwrap(site):
    del site.sections["region local-a"]
    site.write()
    os.rename(site.region("local-b")["key_file"], site.parts / "away")
    rows = seen.texts(site.db)
    told = site.rewrap("--drop", "local-a", code=PARTIAL)
    assert told["dropped"] == 0 and len(told["left"]) == 3 and "1 of 2 required" in told["left"][0]["regions"][0]["reason"]
    assert seen.texts(site.db) == rows


def test_a_master_that_is_missing_is_told_and_nothing_counts_as_done(site):
    site.change_masters()
    site.rewrap()
    os.remove(site.region("local-b")["key_file"])
    done = site.run("rewrap")
    assert done.returncode == PARTIAL and "the master of [region local-b] could not be read" in done.stderr, done


def test_older_than_wraps_anew_under_the_same_master_once(site):
    masters, rows = site.masters(), seen.texts(site.db)
    assert site.rewrap("--older-than", "2020-01-01")["wraps"] == 0 and seen.texts(site.db) == rows
    # The next second: what was wrapped until now is older.
    time.sleep(1.1)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert site.rewrap("--older-than", date, "--dry-run")["wraps"] == 15
    assert site.rewrap("--older-than", date)["wraps"] == 15
    assert site.masters() == masters and seen.texts(site.db) != rows
    assert site.rewrap("--older-than", date)["wraps"] == 0
    for wrong in ("yesterday", "2026-13-01", "2999-01-01"):
        assert "--older-than" in error_of(site.run("rewrap", "--older-than", wrong), USAGE)


def test_what_cannot_be_done_is_told_with_its_exit_code(site):
    assert "there is no key nobody" in error_of_all(site.run("rewrap", "nobody"), FAILED)
    assert site.run("rewrap", "nobody", "orders").returncode == PARTIAL
    assert site.run("rewrap", "-no-").returncode == USAGE
    site.sections["admin"] = {"read": "uid:12345"}
    site.sections["keys *"]["admin"] = "uid:12345"
    site.write()
    assert "may not rewrap all keys" in error_of(site.run("rewrap"), FAILED)
    assert site.run("rewrap", "orders").returncode == FAILED


def error_of_all(done, code):
    assert done.returncode == code, done
    return done.stderr

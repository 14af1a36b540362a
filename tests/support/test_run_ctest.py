"""What scripts/test takes for success: tests/run_ctest on a made-up set of tests."""
import os
import subprocess

import pytest

from support.process import TESTS_DIR

GOOD = 'add_test(good true)\n'
BROKEN = 'add_test(broken false)\n'
# Fails the first time, passes ever after.
FLAKY = 'add_test(flaky sh -c "mkdir {0}/seen || exit 0; exit 1")\n'


@pytest.fixture
def run(tmp_path):
    def run(tests, known="", *arguments):
        (tmp_path / "CTestTestfile.cmake").write_text(tests.replace("{0}", str(tmp_path)))
        (tmp_path / "known_flaky.txt").write_text("# none but\n" + known)
        return subprocess.run([os.path.join(TESTS_DIR, "run_ctest"), tmp_path / "known_flaky.txt", "--test-dir", tmp_path, "--no-tests=error", *arguments],
                              capture_output=True, text=True)

    return run


def test_all_that_passed_at_once_is_success(run):
    assert run(GOOD).returncode == 0


def test_one_that_failed_and_passed_alone_is_a_failure(run):
    done = run(GOOD + FLAKY)
    assert done.returncode == 1 and "  flaky\n" in done.stderr, done


def test_what_it_said_when_it_failed_is_told_at_the_end(run):
    says = 'add_test(flaky sh -c "mkdir {0}/seen || exit 0; echo a_test.cc:7: Failure; echo Expected: one, seen: two; exit 1")\n'
    done = run(GOOD.replace("good", "other") + says)
    assert done.stderr.endswith("  flaky\n    a_test.cc:7: Failure\n    Expected: one, seen: two\n"), done


def test_what_is_run_again_is_what_failed_whatever_is_left_out(run):
    done = run(GOOD + 'add_test(left.out true)\n' + BROKEN.replace("broken", "Suite/of.broken/0"), "", "-E", "good|left")
    assert done.stdout.count("Suite/of.broken/0 ") >= 2 and "good" not in done.stdout, done


def test_unless_it_is_known_to_be_flaky(run):
    done = run(GOOD + FLAKY, "flaky 2026-11-25 the clock of the test\n")
    assert done.returncode == 0 and "known to be flaky" in done.stderr, done


def test_a_known_one_that_fails_alone_too_is_a_failure(run):
    assert run(GOOD + BROKEN, "broken 2026-11-25 some reason\n").returncode != 0


def test_a_known_one_excuses_no_other(run):
    done = run(GOOD + FLAKY + BROKEN, "flaky 2026-11-25 the clock of the test\n")
    assert done.returncode == 1 and "  broken\n" in done.stderr and "  flaky\n" not in done.stderr, done


@pytest.mark.parametrize("line", ["flaky", "flaky 2026-11-25", "flaky some reason"])
def test_an_entry_without_day_and_reason_is_an_error(run, line):
    assert run(GOOD, line + "\n").returncode == 2


def test_no_test_at_all_is_a_failure(run):
    assert run("").returncode != 0
    assert run(GOOD, "", "-R", "nothing-of-that-name").returncode != 0

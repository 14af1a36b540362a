"""The README's examples, as they are printed there: what was encrypted with one version of a key is read after any number of rotations."""
import os
import re
import subprocess
import sys

import pytest

import rotating
from support.cli import DONE
from support.process import ROOT_DIR, eventually

TEXTS = [b"", b"one line\n", os.urandom(100_000)]
LANGUAGES = ["bash", "python", "c"]


def example(language):
    """The one block of the README in that language."""
    with open(os.path.join(ROOT_DIR, "README.md")) as f:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", f.read(), re.S | re.M)
    assert len(blocks) == 1, f"{len(blocks)} blocks in {language}"
    return blocks[0]


@pytest.fixture
def program(folder):
    """program(language) -> the example, ready to run: the words before its arguments."""

    def ready(language):
        if language == "c":
            source, built = folder / "seal.c", folder / "seal"
            source.write_text(example("c"))
            header = os.path.join(ROOT_DIR, "fs", "mount")
            subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", header, "-o", built, source, "-lcrypto"], check=True)
            return [built]
        source = folder / f"seal.{language}"
        source.write_text(example(language))
        return ["bash" if language == "bash" else sys.executable, source]

    return ready


@pytest.fixture
def keyfs(launch):
    """A daemon that has `orders` and sees a rotation at its next read."""
    daemon = launch(fresh_for="0s")
    daemon.read("orders")
    return daemon


def ran(words, keyfs, what, text):
    return subprocess.run([*words, what, keyfs.mount, "orders"], input=text, capture_output=True, timeout=30)


def sealed(words, keyfs, text):
    done = ran(words, keyfs, "encrypt", text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(words, keyfs, text):
    done = ran(words, keyfs, "decrypt", text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rotate(keyfs):
    before = os.readlink(keyfs.path(".keyfs/versions/orders/current"))
    done = keyfs.cli("rotate", "orders")
    assert done.returncode == DONE, done
    eventually(lambda: keyfs.read("orders") and os.readlink(keyfs.path(".keyfs/versions/orders/current")) != before, what="the new version is served")


def changed(text):
    """Another last bit."""
    return text[:-1] + bytes([text[-1] ^ 1])


@pytest.mark.parametrize("language", LANGUAGES)
def test_they_are_short(language):
    assert len(example(language).splitlines()) < 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_encrypted_before_rotations_is_decrypted_after_them(keyfs, program, language):
    words, kept = program(language), []
    for number in range(1, 4):
        for text in TEXTS:
            kept.append((text, sealed(words, keyfs, text)))
            assert kept[-1][1].startswith(b"%d\n" % number)
        for text, ciphertext in kept:
            assert opened(words, keyfs, ciphertext) == text
        rotate(keyfs)
    assert keyfs.cli("retire", "orders", "--below", "2").returncode == DONE
    eventually(lambda: keyfs.read("orders") and ran(words, keyfs, "decrypt", kept[0][1]).returncode != 0, what="version 1 is refused")
    refused = ran(words, keyfs, "decrypt", kept[0][1])
    assert refused.stdout == b"" and refused.stderr
    assert opened(words, keyfs, kept[-1][1]) == kept[-1][0]


@pytest.mark.parametrize("key", [b"\n" + bytes(31), bytes(31) + b"\n", b"ab\n\0" * 8], ids=["a newline first", "a newline last", "newlines within"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_with_newlines_are_used_whole(launch, db, masters, program, language, key):
    maker = launch()
    maker.read("orders")
    maker.terminate()
    rotating.rotate(db, masters, "orders", key=key)
    other = rotating.rotate(db, masters, "orders", key=key[:-1] + b"\x02")
    keyfs, words = launch(), program(language)
    assert keyfs.read("orders") == other
    ciphertext = sealed(words, keyfs, TEXTS[1])
    assert opened(words, keyfs, ciphertext) == TEXTS[1]
    # The other key differs in its last byte only.
    assert ran(words, keyfs, "decrypt", ciphertext.replace(b"3\n", b"2\n", 1)).stdout != TEXTS[1]


def test_python_and_c_read_each_other(keyfs, program):
    python, c = program("python"), program("c")
    for text in TEXTS:
        assert opened(python, keyfs, sealed(c, keyfs, text)) == text
        assert opened(c, keyfs, sealed(python, keyfs, text)) == text


@pytest.mark.parametrize("language", ["python", "c"])
def test_what_was_changed_is_refused(keyfs, program, language):
    words = program(language)
    rotate(keyfs)
    ciphertext = sealed(words, keyfs, TEXTS[2])
    for wrong in (changed(ciphertext), ciphertext.replace(b"2\n", b"1\n", 1), ciphertext[:-1], ciphertext[:20], b"7\n" + ciphertext[2:]):
        done = ran(words, keyfs, "decrypt", wrong)
        assert done.returncode != 0 and done.stdout == b"", wrong[:20]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_ciphertext_names_no_other_file(keyfs, program, language):
    words, other = program(language), keyfs.read("other")
    assert len(other) == 32
    for line in (b"../other/1", b"/etc/passwd", b"-1", b"current", b"", b"1/../1"):
        done = ran(words, keyfs, "decrypt", line + b"\n" + os.urandom(64))
        assert done.returncode != 0 and done.stdout == b"", line
    keyfs.read("last")
    eventually(lambda: any(line["id"] == "last" for line in keyfs.audit()), what="the lines of all that came before")
    assert not [line for line in keyfs.audit() if line["id"] == "other" and line["asked"] is not None]


def test_the_shell_shows_no_key_among_a_programs_arguments(keyfs, program, folder):
    """Everybody may read those, in /proc."""
    seen, key = folder / "arguments", keyfs.read("orders")
    fake = folder / "bin"
    fake.mkdir()
    (fake / "openssl").write_text(f'#!/bin/sh\nprintf "%s " "$@" >{seen}\nexec /usr/bin/openssl "$@"\n')
    (fake / "openssl").chmod(0o755)
    done = subprocess.run([*program("bash"), "encrypt", keyfs.mount, "orders"], input=TEXTS[1], capture_output=True, timeout=30,
                          env={**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    assert seen.read_text().startswith("enc ") and key.hex() not in seen.read_text().lower()

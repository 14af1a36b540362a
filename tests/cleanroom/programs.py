#!/usr/bin/env python3
"""Checks that every program that tests and scripts call is in programs.txt; tests/cleanroom/check looks for those in a tree with only what
scripts/install-deps installs. A call is: the first word of a list given to subprocess and the like; any other word of a list, or of a
shell command, that is a program on this machine. Words that only look like programs are in words.txt.

usage: programs.py SOURCE_DIR"""
import ast
import pathlib
import re
import shutil
import sys

RUNS = {"run", "Popen", "check_output", "check_call", "call", "run_as", "spawn", "setpriv", "which", "in_namespace", "execvp", "execvpe", "execlp"}
WORD = re.compile(r"[a-z][a-z0-9_+.-]*")
CPP_CALL = re.compile(r'\b(?:run|popen|system|execlp?|as_user)\(.*')
CPP_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def listed(path):
    return {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}


def commands(text):
    """The words of a shell's text that stand where a command may."""
    for part in re.split(r"&&|\|\||[;|&\n(]|\bthen\b|\bdo\b|\belse\b|\$\(", text):
        words = [w for w in part.split() if not re.match(r"^(!|if|while|until|exec|\w+=.*)$", w)]
        if words and WORD.fullmatch(words[0]):
            yield words[0]


def python_calls(tree):
    """(line, word, surely)"""
    for node in ast.walk(tree):
        if isinstance(node, ast.List):
            texts = [e.value if isinstance(e, ast.Constant) and isinstance(e.value, str) else None for e in node.elts]
            for before, text in zip([None, *texts], texts):
                if text is None:
                    continue
                if before == "-c":
                    yield from ((node.lineno, word, False) for word in commands(text))
                elif WORD.fullmatch(text):
                    yield node.lineno, text, False
                elif " " in text:  # whole commands, for a shell
                    yield from ((node.lineno, word, False) for word in commands(text))
                elif text.startswith(("/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/")):
                    yield node.lineno, text.rsplit("/", 1)[1], True
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name not in RUNS:
                continue
            for argument in node.args:
                first = argument.elts[0] if isinstance(argument, ast.List) and argument.elts else argument if name == "which" else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and WORD.fullmatch(first.value):
                    yield node.lineno, first.value, True


def cpp_calls(text):
    for number, line in enumerate(text.splitlines(), 1):
        for call in CPP_CALL.findall(line):
            for literal in CPP_TEXT.findall(call):
                yield from ((number, word, False) for word in commands(literal))


def main():
    source = pathlib.Path(sys.argv[1])
    here = source / "tests" / "cleanroom"
    programs, words = listed(here / "programs.txt"), listed(here / "words.txt")
    used, missing = set(), []
    files = sorted(f for f in (source / "tests").rglob("*") if f.suffix in (".py", ".cc", ".h"))
    for file in files:
        text = file.read_text()
        for line, word, surely in python_calls(ast.parse(text)) if file.suffix == ".py" else cpp_calls(text):
            if word in programs or word in words:
                used.add(word)
            elif surely or shutil.which(word):
                missing.append(f"{file.relative_to(source)}:{line}: {word}")
    for script in sorted((source / "scripts").iterdir()):
        if script.is_file() and script.read_bytes().startswith(b"#!/bin/bash"):
            text = re.sub(r"(?m)^\s*#.*$|'[^']*'", "", script.read_text())
            for word in set(commands(text)) & programs:
                used.add(word)
    if len(files) < 50 or len(used) + len(missing) < 30:
        sys.exit(f"programs.py looked at {len(files)} files and found {len(used)} programs: it does not see them any more")
    if missing:
        print("\n".join(sorted(set(missing))))
        sys.exit("Called by tests, and not in tests/cleanroom/programs.txt (its package belongs in scripts/install-deps), nor a mere word of words.txt")


main()

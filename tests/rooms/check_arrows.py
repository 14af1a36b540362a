#!/usr/bin/env python3
"""Which rooms can include which others, as the compiler sees it. usage: check_arrows.py SOURCE_DIR BUILD_DIR

For each room, the flags that its own files are compiled with are asked (by __has_include) about a header of every other
room. What is seen must be exactly the arrows below; and one include against them is compiled, and must fail.
"""
import json
import pathlib
import shlex
import subprocess
import sys

# A room, and those that it may stand on (DESIGN: cli -> daemon -> mount, rotation -> upkeep -> audit -> keys -> policy -> kms, store -> base).
BASE = {"base"}
LOW = BASE | {"kms", "store"}
MAY_SEE = {
    "base": set(),
    "base/aws": BASE,
    "kms": BASE | {"base/aws"},
    "kms/signing": BASE | {"base/aws", "kms"},
    "store": BASE | {"base/aws", "store/sqlite", "store/dynamodb", "store/etcd"},  # its factory makes the backends
    "store/sqlite": BASE | {"store"},
    "store/dynamodb": BASE | {"base/aws", "store"},
    "store/etcd": BASE | {"store"},
    "fs/policy": LOW | {"kms/signing"},
    "fs/keys": LOW | {"store/sqlite"},
    "fs/audit": LOW | {"fs/policy", "fs/keys"},
    "fs/upkeep": LOW | {"fs/policy", "fs/keys", "fs/audit"},
    "fs/sign": LOW | {"kms/signing", "fs/policy", "fs/keys", "fs/audit"},
    "fs/rotation": LOW | {"fs/policy", "fs/keys", "fs/audit", "fs/upkeep"},
    "fs/mount": LOW | {"kms/signing", "fs/policy", "fs/keys", "fs/audit", "fs/upkeep", "fs/sign"},
    "fs/daemon": LOW | {"base/aws", "kms/signing", "fs/sign", "store/dynamodb", "store/etcd", "fs/policy", "fs/keys", "fs/audit", "fs/upkeep", "fs/rotation", "fs/mount"},
    "fs/cli": LOW | {"base/aws", "kms/signing", "fs/sign", "fs/policy", "fs/keys", "fs/audit", "fs/upkeep", "fs/rotation", "fs/mount", "fs/daemon"},
    "fs/spire": LOW | {"base/aws", "kms/signing", "fs/sign", "fs/policy", "fs/rotation", "fs/daemon"},
}


def flags_of(build, source, room):
    """The include flags of every target that compiles a file of this room."""
    found = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        if not words[words.index("-o") + 1].startswith(room + "/CMakeFiles/keyfs_"):
            continue  # another program that compiles a file of ours too
        flags = [w for w in words if w.startswith(("-I", "-isystem", "-std"))]
        if flags not in found:
            found.append(flags)
    return found


def sees(flags, headers):
    text = "".join(f'#if __has_include("{h}")\nyes {h}\n#endif\n' for h in headers)
    out = subprocess.run(["g++", "-x", "c++", "-E", "-P", *flags, "-"], input=text, text=True, check=True, capture_output=True, cwd="/")
    return {line.split(" ", 1)[1].replace(" ", "") for line in out.stdout.splitlines() if line.startswith("yes ")}


def main():
    source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:])
    rooms = sorted({str(h.parent.relative_to(source)) for top in ("base", "kms", "store", "fs")
                    for h in (source / top).rglob("*.h")})
    headers = {room: sorted((source / room).glob("*.h"))[0].relative_to(source).as_posix() for room in rooms}
    wrong = []
    for room in rooms:
        if room not in MAY_SEE:
            wrong.append(f"{room}: a room that no arrow is drawn for")
            continue
        for flags in flags_of(build, source, room):
            seen = sees(flags, headers.values())
            for other in rooms:
                if other != room and headers[other] in seen and other not in MAY_SEE[room]:
                    wrong.append(f"{room} can include {headers[other]}: against the arrows")
    # And the compiler says so.
    flags = flags_of(build, source, "fs/upkeep")[0]
    broken = subprocess.run(["g++", "-x", "c++", "-fsyntax-only", *flags, "-"], text=True, capture_output=True, cwd="/",
                            input=f'#include "{headers["fs/mount"]}"\n')
    if broken.returncode == 0 or "No such file" not in broken.stderr:
        wrong.append("fs/upkeep includes a header of fs/mount, and it builds")
    print("\n".join(wrong) or f"{len(rooms)} rooms stand as they are drawn")
    return 1 if wrong else 0


sys.exit(main())

"""Fleets of hosts that rotate keys together, on a store of any kind: support/rotation.py, with what its tests share."""
import contextlib
import itertools

import seen
from fleet import sections_of
from support import boards
from support.rotation import Fleet
from support.users import walkable

# Consumers are users without a name.
ANYBODY = {"*": {"read": "any", "create": "uid:0", "admin": "uid:0"}}
_numbers = itertools.count(1)


def store_of(kind, request, folder, policy=None, **keyfs):
    """(board, sections, environment) of a new store of that kind."""
    sections, env = sections_of(kind, request, folder, **keyfs)
    sections = {name: entries for name, entries in sections.items() if not name.startswith("keys ")}
    sections.update({f"keys {glob}": entries for glob, entries in {**(policy or {}), **ANYBODY}.items()})
    store = sections["store"]
    if kind == "sqlite":
        board = boards.SqliteBoard(store["path"])
    elif kind == "etcd":
        board = boards.EtcdBoard(request.getfixturevalue("etcd_parts"), store["prefix"])
    else:
        board = boards.DynamoBoard(request.getfixturevalue("aws_parts"), store["table"])
    return board, sections, env


def made(kind, request, tmp_path_factory, webhook=None, rotation=None, policy=None, keyfs=None, stores=None, **options):
    """A Fleet that is not started yet, on a new store of that kind. webhook: a support.webhook.Webhook that is told of its runs. stores: {host: entries of its own of [store]}."""
    folder = walkable(tmp_path_factory.mktemp(f"fleet{next(_numbers)}-{kind}"))
    board, sections, env = store_of(kind, request, folder, policy, **(keyfs or {}))
    rotation = {"settle": "2s", "poll_every": "1s", **(rotation or {})}
    if webhook:
        (folder / "webhook").write_text(webhook.url + "\n")
        (folder / "webhook").chmod(0o600)
        rotation["webhook_file"] = folder / "webhook"

    def own(n):
        return {"store": {**sections["store"], **stores[n]}} if n in (stores or {}) else {}

    fleet = Fleet(folder, board, {**sections, **seen.ADMIN}, env, rotation=rotation, own=own, **options)
    fleet.webhook, fleet.late, fleet.overdue = webhook, [], None
    return fleet


@contextlib.contextmanager
def running(*arguments, **options):
    """A Fleet that runs; as for made()."""
    with made(*arguments, **options) as fleet:
        yield fleet

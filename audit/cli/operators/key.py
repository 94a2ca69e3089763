"""`audit key`: the log's and the producers' keys."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write, write_json
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.capture.delivery.embedded import EmbeddedLedger
    from audit.capture.delivery.keyring import RegisteredKey


@click.group()
def key() -> None:
    """The log's and the producers' keys. Each change is an entry of the log.

    What is printed are lines for a policy file: `audit key new crm >> audit.policy`.
    """


@key.command()
@click.argument("name")
@click.option("-o", "output", metavar="FILE", help="The key file. Default: NAME.key here.")
@store_option
@json_option
@session_argument
def new(session: Session, name: str, output: str | None, store: str, as_json: bool) -> None:
    """Make a signing key for the producer NAME, and register it in the log.

    The file is encrypted when AUDIT_KEY_PASSPHRASE is set.
    """
    from audit.capture.delivery.keyring import new_producer_key

    path = output or f"{name}.key"
    with _writing(store) as ledger:
        made = new_producer_key(ledger, name, path)
    note(f"key of producer {name} in {path}: keep it secret; events are signed with --key {path}")
    _show(made, as_json, file=path)


@key.command()
@click.argument("name")
@click.argument("vkey")
@store_option
@json_option
@session_argument
def register(session: Session, name: str, vkey: str, store: str, as_json: bool) -> None:
    """Register the key VKEY, which the producer NAME made himself.

    Also one that was revoked by mistake: it is good again from here on.
    """
    from audit.capture.delivery.keyring import register

    with _writing(store) as ledger:
        made = register(ledger, name, vkey)
    note(f"the key of producer {name} is registered; policies need this line as well")
    _show(made, as_json)


@key.command()
@click.argument("name")
@click.option("-o", "output", metavar="FILE", help="Default: NAME-2.key here, or -3, -4 ...")
@store_option
@json_option
@session_argument
def rotate(session: Session, name: str, output: str | None, store: str, as_json: bool) -> None:
    """Replace the key of the producer NAME by a new one."""
    from audit.capture.delivery.keyring import rotate

    path = output or _fresh_file(name)
    with _writing(store) as ledger:
        made = rotate(ledger, name, path)
    note(f"new key of producer {name} in {path}; `audit key list` has the line of the old one")
    _show(made, as_json, file=path)


@key.command()
@click.argument("name")
@store_option
@json_option
@session_argument
def revoke(session: Session, name: str, store: str, as_json: bool) -> None:
    """End the key of the producer NAME: what it signs from now on is not to be trusted."""
    from audit.capture.delivery.keyring import revoke

    with _writing(store) as ledger:
        ended = revoke(ledger, name)
    note(
        f"revoked at entry {ended.last_index}: consumers heed that now; "
        "put this in place of the key's old lines in policies"
    )
    _show(ended, as_json)


@key.command("list")
@as_of_option
@store_option
@json_option
@session_argument
def list_(session: Session, as_of: str | None, store: str, as_json: bool) -> None:
    """The keys of all logs and producers, as the lines of a policy.

    They are what this ledger says of itself. An auditor pins the keys that he was handed.
    """
    ledger = session.ledger(store)
    logs = ledger.reader.logs()
    producers = ledger.producer_keys(as_of)
    if as_json:
        write_json(
            {
                "logs": [info._asdict() for info in logs],
                "producers": [_fields(producer) for producer in producers],
            }
        )
        return
    for info in logs:
        write(f"log {info.vkey}\n")
    write("quorum none\n")
    for producer in producers:
        write(producer.policy_line + "\n")


@contextmanager
def _writing(store: str) -> "Iterator[EmbeddedLedger]":
    """The ledger, made where it is missing, after it was held against what was published of it."""
    from audit.capture.delivery.embedded import open_for_writing
    from audit.ledger.guarded import check_not_rolled_back

    with open_for_writing(store) as ledger:
        remark = check_not_rolled_back(ledger)
        if remark is not None:
            note(remark)
        yield ledger


def _fresh_file(name: str) -> str:
    """NAME-2.key, or the next number that is free. The old key stays: it signed what is there."""
    paths = (f"{name}-{number}.key" for number in count(2))
    return next(path for path in paths if not os.path.lexists(path))


def _show(made: "RegisteredKey", as_json: bool, **more: str) -> None:
    if as_json:
        write_json({**_fields(made), **more})
    else:
        write(made.policy_line + "\n")


def _fields(made: "RegisteredKey") -> dict[str, Any]:
    return {
        "name": made.name,
        "vkey": made.verifier.vkey,
        "first_index": made.first_index,
        "last_index": made.last_index,
        "policy_line": made.policy_line,
    }

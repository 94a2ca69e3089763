"""`audit demo`: the whole story."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "folder",
    metavar="D",
    type=click.Path(path_type=Path),
    help="Where: a new or empty folder, or one of an earlier demo. Default: a temporary one.",
)
@click.option(
    "--store",
    metavar="URL",
    help="The ledger: postgresql://user@host/db, or sqlite:///NAME in the folder (default).",
)
@click.option(
    "--bus",
    metavar="URL",
    help="Send the events through Kafka: kafka://host:9092. Default: straight to the store.",
)
@click.pass_context
def demo(context: click.Context, folder: Path | None, store: str | None, bus: str | None) -> None:
    """The whole story on real data, in under a minute, with no services.

    Import, train, predict, correct, replay, verify - and then tamper with copies, and see what is
    found. Everything it makes stays in its folder.

    With --store and --bus the same story goes through PostgreSQL and Kafka. There it makes a
    schema and a topic of its own, unless the URLs name empty ones; AUDIT_STORE, AUDIT_BUS and
    audit.toml are not looked at.

    \b
    audit demo
    audit demo --store postgresql://me@localhost/test --bus kafka://localhost:9092
    """
    from audit.cli.lazy import App
    from audit.demo.story import run_demo

    app = context.find_root().command
    assert isinstance(app, App)
    run_demo(app.run, folder, store, bus)

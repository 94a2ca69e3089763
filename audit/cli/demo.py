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
@click.pass_context
def demo(context: click.Context, folder: Path | None) -> None:
    """The whole story on real data, in under a minute, with no services.

    Import, train, predict, correct, replay, verify - and then tamper with copies, and see what is
    found. Everything it makes stays in its folder.
    """
    from audit.cli.lazy import App
    from audit.demo.story import run_demo

    app = context.find_root().command
    assert isinstance(app, App)
    run_demo(app.run, folder)

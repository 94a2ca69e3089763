"""Command groups that load a command only when it is run, and say what comes later."""

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import click

from audit.cli.outcome import ReaderGone, guarded
from audit.cli.session import Session


class Lazy(NamedTuple):
    """A command that is not loaded yet: where it is, who uses it, and its line in the help."""

    module: str
    attribute: str
    audience: str
    help: str


class LazyGroup(click.Group):
    """A group of `Lazy` commands; `later` are the names reserved for later releases."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, Lazy] | None = None,
        later: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """As click.Group, with the two tables besides."""
        super().__init__(*args, **options)
        self.lazy = dict(lazy or {})
        self.later = frozenset(later)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, those of eager commands included."""
        return [*self.lazy, *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        found = self.lazy.get(cmd_name)
        if found is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(found.module), found.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; one clear line for a name that is none, or not yet."""
        name = args[0]
        if name in self.later:
            raise click.ClickException(f"{ctx.command_path} {name} comes with a later release")
        if name not in self.list_commands(ctx):
            close = get_close_matches(name, self.list_commands(ctx), 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no command {name[:80]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under the names of those who use them, without loading any."""
        audiences: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.lazy.items():
            audiences.setdefault(entry.audience, []).append((name, entry.help))
        for audience, rows in audiences.items():
            with formatter.section(audience):
                formatter.write_dl(rows)
        if self.commands:
            super().format_commands(ctx, formatter)


class App(LazyGroup):
    """The root of all commands."""

    def run(self, args: Sequence[str]) -> int:
        """Run one command line; returns the exit code. Never raises an Exception."""
        session = Session()

        def run() -> None:
            _speak_utf8()
            super(App, self).main(list(args), prog_name="audit", standalone_mode=False, obj=session)

        try:
            return guarded(run, lambda: session.exit_code)
        finally:
            session.close()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        """Run one command line and leave the process with its exit code."""
        sys.exit(self.run(sys.argv[1:] if args is None else args))


def _speak_utf8() -> None:
    """Data on stdout is UTF-8 with plain line feeds, whatever the locale says."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")

"""`audit serve`: the web view of a ledger, and its read API."""

from pathlib import Path

import click

from audit.cli.options import policy_option, session_argument, store_option
from audit.cli.output import write
from audit.cli.session import Session, note
from audit.errors import Unavailable

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8460
DEFAULT_REQUESTS_PER_MINUTE = 1200


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port; 0 takes a free one and says which.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Also answer under this name.")
@click.option(
    "--tokens", type=click.Path(path_type=Path), help="File of tokens: who may read (see README)."
)
@click.option("--new-token", metavar="NAME", help="Make a token, say its line for --tokens, end.")
@click.option("--trusted-proxy", metavar="ADDRESS", help="Believe this proxy who asks.")
@click.option(
    "--proxy-header", default="X-Forwarded-User", show_default=True, help="What it says it in."
)
@click.option("--access", metavar="STORE|none", help="Where access events go; else beside STORE.")
@click.option(
    "--access-required", is_flag=True, help="Show nothing whose access event is not kept."
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    default=DEFAULT_REQUESTS_PER_MINUTE,
    show_default=True,
    help="Most requests of one client.",
)
@policy_option
@store_option
@session_argument
def serve(
    session: Session,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    tokens: Path | None,
    new_token: str | None,
    trusted_proxy: str | None,
    proxy_header: str,
    access: str | None,
    access_required: bool,
    requests_per_minute: int,
    policy: str | None,
    store: str,
) -> None:
    """Look at a ledger in a browser: read-only, on this machine unless told otherwise.

    Every page has a twin in JSON, tables also in CSV and Parquet; /openapi.json describes them.
    Whoever can reach this machine's loopback may read, unless --tokens or --trusted-proxy say who
    may. Every look at recorded data is an event in audit.access.db beside the store.

    \b
    audit serve                              # http://127.0.0.1:8460
    audit serve --new-token alice            # a token, and its line for tokens.txt
    audit serve --host 0.0.0.0 --tokens tokens.txt --allow-host audit.example.org
    """
    try:
        from audit.store import is_served, without_password
        from audit.web import WebOptions
        from audit.web.guard.who import new_token as make_token
        from audit.web.serving import run
    except ImportError as error:
        raise Unavailable(
            f"the web view needs {error.name}: pip install 'attestory[web]'"
        ) from None
    if new_token is not None:
        token, line = make_token(new_token)
        write(f"{line}\n")
        note(f"the token, shown once: {token}\nput the line above into the file of --tokens")
        return
    options = WebOptions(
        store=store,
        policy=policy,
        host=host,
        port=port,
        allowed_hosts=allow_host,
        tokens=tokens,
        proxy=trusted_proxy,
        proxy_header=proxy_header,
        access=access,
        access_required=access_required,
        requests_per_minute=requests_per_minute,
    )
    shown = without_password(store) if is_served(store) else store
    run(options, lambda url: note(f"{url} shows {shown}; Ctrl-C ends"))

"""How the web view is set up: who may see it, from where, how much at once."""

from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from audit.errors import InvalidInput

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8460

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""What the `Host` header may say without being told otherwise."""


class WebOptions(NamedTuple):
    """What `audit serve` was told.

    `store`: URL of the ledger. `policy`: path of a policy file; None: the ledger's own.
    `host`, `port`: where it listens. `allowed_hosts`: names besides the local ones under which
    browsers may ask for it. `tokens`: path of the file of tokens; None: no token is asked for.
    `proxy`: address of the one proxy that is trusted to say, in `proxy_header`, who asks.
    `access`: URL of the ledger or topic that access events go to; None: beside the store.
    `access_required`: what cannot be recorded there is not shown.
    `requests_per_minute`: of one client.
    """

    store: str
    policy: str | None = None
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    allowed_hosts: tuple[str, ...] = ()
    tokens: Path | None = None
    proxy: str | None = None
    proxy_header: str = "X-Forwarded-User"
    access: str | None = None
    access_required: bool = False
    requests_per_minute: int = 1200
    read_model: str | None = None

    def checked(self) -> "WebOptions":
        """The same. Raises InvalidInput where strangers could read without saying who they are."""
        if not is_loopback(self.host) and self.tokens is None and self.proxy is None:
            raise InvalidInput(
                f"{self.host} can be reached from other machines: say who may read, with --tokens "
                "FILE or --trusted-proxy ADDRESS"
            )
        if self.proxy is not None:
            address_of(self.proxy)
        if self.requests_per_minute < 1:
            raise InvalidInput("--requests-per-minute is at least 1")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name but `localhost` counts as no."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_of(text: str) -> str:
    """An IP address in its one spelling. Raises InvalidInput.

    Who listens on :: sees IPv4 clients as ::ffff:10.0.0.1.
    """
    try:
        found = ip_address(text.strip("[]"))
    except ValueError:
        raise InvalidInput(f"{text[:80]!r} is no IP address") from None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).compressed

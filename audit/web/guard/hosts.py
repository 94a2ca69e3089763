"""Under which names the view may be asked for.

A page elsewhere can point a name of its own at 127.0.0.1 and have the reader's browser ask for
that (DNS rebinding). Its requests carry its own name, so names that we do not know are refused.
"""

from collections.abc import Iterable

from audit.web.options import LOCAL_NAMES

MAX_HOST_CHARS = 255


class Hosts:
    """The names that a `Host` or `Origin` header may have."""

    def __init__(self, host: str, allowed: Iterable[str]) -> None:
        """`host`: the address listened on; `allowed`: names besides it and the local ones."""
        named = f"[{host}]" if ":" in host else host
        self._names = {name.lower() for name in (*LOCAL_NAMES, named, *allowed)}

    def knows(self, header: str) -> bool:
        """Whether a `Host` header names this server; its port does not matter."""
        if len(header) > MAX_HOST_CHARS:
            return False
        name, colon, port = header.rpartition(":")
        if not colon or port.endswith("]"):
            name = header
        elif not port.isdigit():
            return False
        return name.lower() in self._names

    def is_own(self, origin: str) -> bool:
        """Whether an `Origin` header is a page of this server."""
        scheme, found, host = origin.partition("://")
        return bool(found) and scheme in ("http", "https") and self.knows(host)

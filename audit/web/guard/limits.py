"""How often one client may ask: a token bucket for each, the least recent ones forgotten."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from threading import Lock

MAX_CLIENTS = 10_000
"""Clients remembered. A forgotten one begins with a full bucket: memory wins over strictness."""
BURST_SHARE = 0.25
"""Of a minute's requests, so many may come at once: a page asks for several things."""

HOST_BITS = 64
"""Of an IPv6 address; one subscriber has all of them (RFC 6177), and so as many addresses."""


def neighbourhood(address: str) -> str:
    """What counts as one client: an IPv4 address, or all IPv6 addresses of one subscriber."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    return f"{IPv6Address(int(found) >> HOST_BITS << HOST_BITS)}/{HOST_BITS}"


class Rate:
    """At most so many requests a minute from each client."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._per_second = per_minute / 60
        self._burst = max(1.0, per_minute * BURST_SHARE)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, client: str) -> float:
        """Take one request of a client; 0, or the seconds until it may ask again."""
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_second)
            allowed = left >= 1
            self._left[client] = (left - 1 if allowed else left, now)
            if len(self._left) > MAX_CLIENTS:
                self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second

"""What a relay counts, as Prometheus metrics over HTTP."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audit.capture.database.backlog import backlog
from audit.errors import AuditError, InvalidInput, Unavailable

if TYPE_CHECKING:
    from audit.capture.database.relay import Relay

PREFIX = "attestory_relay_"
MAX_PORT = 65_535

_COUNTERS = {
    "emitted": "Rows whose events were sealed, or acknowledged by the broker.",
    "failed": "Rows set aside with a reason.",
    "behind": "Rows set aside because an earlier one of their key was.",
    "purged": "Acknowledged rows deleted after their events were found sealed.",
    "outages": "Times that bus or database stopped answering.",
    "fenced": "Leases lost to another relay.",
}


def serve(relay: "Relay", port: int, host: str = "127.0.0.1") -> int:
    """Serve the metrics in the background until the process ends; the port (0: a free one).

    Raises Unavailable without prometheus-client, or when the port is taken.
    """
    if not 0 <= port <= MAX_PORT:
        raise InvalidInput(f"a port is 0 to {MAX_PORT}")
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise Unavailable(
            "prometheus-client is not installed, and metrics need it: "
            "pip install 'attestory[server]'"
        ) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(relay))
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise Unavailable(f"cannot serve metrics on {host}:{port}: {error.strerror}") from None
    return int(server.server_port)


class Collector:
    """What prometheus-client asks at each scrape."""

    def __init__(self, relay: "Relay") -> None:
        """The relay goes on beside it."""
        self._relay = relay

    def collect(self) -> Iterator[Any]:
        """The metrics. The backlog is counted in the database; left out while it is away."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        relay = self._relay
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, text, getattr(relay, name))
        up = float(relay.outage is None)
        yield GaugeMetricFamily(PREFIX + "up", "1 while bus and database answer.", up)
        held = len(relay.leases.held)
        yield GaugeMetricFamily(PREFIX + "shards", "Shards of the outbox that it holds.", held)
        try:
            found = backlog(relay.engine, relay.settings.schema)
        except AuditError:
            return
        gauges = {
            "waiting_rows": ("Rows in the outbox.", found.waiting),
            "oldest_seconds": ("Age of the oldest row in the outbox.", found.oldest_s or 0.0),
            "sent_rows": ("Rows acknowledged and not yet found in a ledger.", found.sent),
            "failed_rows": ("Rows set aside with a reason, now.", found.failed),
            "behind_rows": ("Rows that wait behind those, now.", found.behind),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, text, value)

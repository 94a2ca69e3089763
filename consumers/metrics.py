"""What a consumer counts, in plain numbers; a scrape turns them into Prometheus metrics.

Each number is written by one thread only, or under the lock of whoever writes it. They are written
once a batch, never once a message.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from audit.errors import Unavailable

PREFIX = "attestory_"
TOO_LONG_S = 60.0
"""A loop that did not come round for so long hangs."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MESSAGES = (1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 50_000.0)


class Histogram:
    """How many values were at most each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Nothing was observed yet."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many were at most that), cumulative, as Prometheus has them."""
        total = 0
        found = []
        for bound, count in zip([*map(repr, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Checkpointed(NamedTuple):
    """A log's newest checkpoint: how many entries it covers, and when it was seen (monotonic)."""

    size: int
    seen_s: float


class Metrics:
    """The numbers of one consumer, and from them whether it is alive and ready."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """All zero; neither alive nor ready yet. `clock` is monotonic, in seconds."""
        self.clock = clock
        self.messages = self.bytes = self.batches = 0
        self.sealed = self.quarantined = self.conflicts = self.duplicates = 0
        self.skipped = self.expired = 0
        self.fenced = self.database_errors = self.broker_errors = self.intake_waits = 0
        self.guard_refusals = self.heads = self.publish_errors = 0
        self.batch_seconds = Histogram(SECONDS)
        self.seal_seconds = Histogram(SECONDS)
        self.batch_messages = Histogram(MESSAGES)
        self.lag: dict[int, int] = {}
        self.checkpoints: dict[str, Checkpointed] = {}
        self.published: dict[str, int] = {}
        self.assigned = self.opened = self.refused = 0
        self.waiting_messages = self.waiting_bytes = 0
        self.joined = self.database_ok = self.broker_ok = self.stopping = False
        self.ticked_s: float | None = None
        self.working: Callable[[], bool] = lambda: False

    def sealed_to(self, origin: str, size: int) -> None:
        """A checkpoint over so many entries of a log is in the store."""
        known = self.checkpoints.get(origin)
        if known is None or size > known.size:
            self.checkpoints[origin] = Checkpointed(size, self.clock())

    def published_to(self, origin: str, size: int) -> None:
        """A checkpoint over so many entries of a log was published."""
        self.published[origin] = max(size, self.published.get(origin, 0))

    def fault(self) -> str | None:
        """Why this process does not live, if so: it should be started anew."""
        if self.ticked_s is None or not self.working():
            return "not started, or a thread of it has ended"
        age_s = self.clock() - self.ticked_s
        return f"it hangs since {age_s:.0f} s" if age_s > TOO_LONG_S else None

    def not_ready(self) -> str | None:
        """Why it does not do its work now, if so. Waiting in its group for a partition is work."""
        fault = self.fault()
        if fault is not None:
            return fault
        if self.stopping:
            return "it is stopping"
        if self.refused:
            return f"{self.refused} partition(s) are refused; see the log lines"
        if not self.database_ok:
            return "the store does not answer"
        if not self.broker_ok:
            return "the broker does not answer"
        if not self.joined:
            return "it waits for its group"
        if self.opened < self.assigned:
            return f"{self.assigned - self.opened} partition(s) are being taken over"
        return None


_COUNTERS = {
    "messages": ("messages", "Messages read from the topic."),
    "source_bytes": ("bytes", "Bytes of the values of messages read."),
    "batches": ("batches", "Batches committed to the store."),
    "sealed": ("sealed", "Messages sealed as the events they are."),
    "quarantined": ("quarantined", "Messages sealed as QUARANTINED entries."),
    "conflicts": ("conflicts", "Messages with a known event id and other bytes, quarantined."),
    "duplicates": ("duplicates", "Messages dropped as repeats of an entry."),
    "skipped_offsets": ("skipped", "Offsets accounted for without an entry of their own."),
    "expired_offsets": ("expired", "Offsets that the broker deleted before they were read."),
    "fenced": ("fenced", "Batches refused because another consumer had claimed the log."),
    "database_errors": ("database_errors", "Times the store did not answer or was busy."),
    "broker_errors": ("broker_errors", "Times the broker did not answer."),
    "intake_waits": ("intake_waits", "Waits for the schema registry or the blob store."),
    "guard_refusals": ("guard_refusals", "Logs refused by the rollback guard."),
    "heads": ("heads", "ledger.heads entries written by this process."),
    "publish_errors": ("publish_errors", "Times publishing checkpoints failed."),
}
"""Name of the counter -> (attribute of Metrics, help)."""

_GAUGES = {
    "assigned_partitions": ("assigned", "Partitions that the group gave to this process."),
    "opened_partitions": ("opened", "Partitions of those that are being read."),
    "refused_partitions": ("refused", "Partitions of those that are refused."),
    "waiting_messages": ("waiting_messages", "Messages read and not sealed yet."),
    "waiting_bytes": ("waiting_bytes", "Bytes of the messages read and not sealed yet."),
    "database_up": ("database_ok", "1 while the store answers."),
    "broker_up": ("broker_ok", "1 while the broker answers."),
}

_HISTOGRAMS = {
    "batch_seconds": ("batch_seconds", "Time to commit one batch to the store."),
    "seal_seconds": ("seal_seconds", "From reading a batch's first message to its checkpoint."),
    "batch_messages": ("batch_messages", "Messages in one batch."),
}


def exposition(metrics: Metrics) -> bytes:
    """The metrics in Prometheus's text format. Raises Unavailable without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise missing_client() from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry)


def missing_client() -> Unavailable:
    """The error for a missing prometheus-client."""
    return Unavailable(
        "prometheus-client is not installed, and --health needs it: pip install 'attestory[server]'"
    )


class _Collector:
    """What prometheus-client asks at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        metrics = self._metrics
        for name, (attribute, text) in _COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, text, getattr(metrics, attribute))
        for name, (attribute, text) in _GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, float(getattr(metrics, attribute)))
        for name, (attribute, text) in _HISTOGRAMS.items():
            histogram: Histogram = getattr(metrics, attribute)
            yield HistogramMetricFamily(
                PREFIX + name, text, buckets=histogram.buckets(), sum_value=histogram.sum
            )
        yield GaugeMetricFamily(PREFIX + "up", "1: this process lives.", metrics.fault() is None)
        ready = metrics.not_ready() is None
        yield GaugeMetricFamily(PREFIX + "ready", "1: this process does its work.", ready)
        lag = GaugeMetricFamily(
            PREFIX + "source_lag", "Offsets in the topic not yet in the log.", labels=["partition"]
        )
        for partition, behind in sorted(dict(metrics.lag).items()):
            lag.add_metric([str(partition)], behind)
        yield lag
        yield from self._of_logs(GaugeMetricFamily)

    def _of_logs(self, family: Any) -> Iterator[Any]:
        known = sorted(dict(self._metrics.checkpoints).items())
        now_s = self._metrics.clock()
        size = family(
            PREFIX + "checkpoint_size", "Entries under the newest checkpoint.", labels=["origin"]
        )
        age = family(
            PREFIX + "checkpoint_age_seconds",
            "Since this process saw the newest checkpoint committed.",
            labels=["origin"],
        )
        behind = family(
            PREFIX + "publisher_lag",
            "Entries whose checkpoint is not published yet.",
            labels=["origin"],
        )
        for origin, state in known:
            size.add_metric([origin], state.size)
            age.add_metric([origin], max(0.0, now_s - state.seen_s))
            published = self._metrics.published.get(origin, 0)
            behind.add_metric([origin], max(0, state.size - published))
        yield from (size, age, behind)

"""Metrics and probes over HTTP."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from audit.errors import Unavailable
from consumers.health import HealthServer
from consumers.metrics import TOO_LONG_S, Histogram, Metrics, exposition


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def metrics() -> Metrics:
    """Of a consumer that is well."""
    found = Metrics(Clock())
    found.working = lambda: True
    found.joined = found.database_ok = found.broker_ok = True
    found.assigned = found.opened = 2
    found.ticked_s = found.clock()
    return found


@pytest.fixture
def port(metrics: Metrics) -> Iterator[int]:
    with closing(HealthServer("127.0.0.1", 0, metrics)) as server:
        yield server.port


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_a_consumer_that_is_well(port: int) -> None:
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/readyz?verbose=1") == (200, "ok\n")
    assert get(port, "/")[0] == 404


@pytest.mark.parametrize(
    ("name", "value", "alive", "why"),
    [
        ("database_ok", False, True, "the store does not answer"),
        ("broker_ok", False, True, "the broker does not answer"),
        ("refused", 1, True, "refused"),
        ("opened", 1, True, "1 partition(s) are being taken over"),
        ("joined", False, True, "waits for its group"),
        ("stopping", True, True, "stopping"),
        ("ticked_s", None, False, "not started"),
        ("ticked_s", 1_000.0 - TOO_LONG_S - 1, False, "hangs since 61 s"),
        ("working", lambda: False, False, "a thread of it has ended"),
    ],
)
def test_what_is_missing_is_said(
    metrics: Metrics, port: int, name: str, value: object, alive: bool, why: str
) -> None:
    setattr(metrics, name, value)
    status, body = get(port, "/readyz")
    assert status == 503 and why in body
    assert get(port, "/healthz")[0] == (200 if alive else 503)


def test_a_member_without_a_partition_is_ready(metrics: Metrics, port: int) -> None:
    metrics.assigned = metrics.opened = 0
    assert get(port, "/readyz")[0] == 200


def test_the_metrics_say_what_was_counted(metrics: Metrics, port: int) -> None:
    metrics.messages, metrics.quarantined, metrics.fenced = 12, 3, 1
    metrics.batch_seconds.observe(0.02)
    metrics.batch_seconds.observe(99.0)
    metrics.lag[1] = 7
    metrics.sealed_to("l/t/1", 500)
    metrics.sealed_to("l/t/1", 400)
    metrics.published_to("l/t/1", 450)
    found = samples(get(port, "/metrics")[1])
    expected = {
        "attestory_messages_total": 12,
        "attestory_quarantined_total": 3,
        "attestory_fenced_total": 1,
        "attestory_up": 1,
        "attestory_ready": 1,
        "attestory_assigned_partitions": 2,
        'attestory_source_lag{partition="1"}': 7,
        'attestory_checkpoint_size{origin="l/t/1"}': 500,
        'attestory_publisher_lag{origin="l/t/1"}': 50,
        'attestory_checkpoint_age_seconds{origin="l/t/1"}': 0,
        'attestory_batch_seconds_bucket{le="0.01"}': 0,
        'attestory_batch_seconds_bucket{le="0.025"}': 1,
        'attestory_batch_seconds_bucket{le="+Inf"}': 2,
        "attestory_batch_seconds_count": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["attestory_batch_seconds_sum"] == pytest.approx(99.02)


def test_all_numbers_are_exported_with_a_help(metrics: Metrics) -> None:
    text = exposition(metrics).decode()
    exported = {name for name in vars(metrics) if isinstance(getattr(metrics, name), int | bool)}
    exported |= {name for name in vars(metrics) if isinstance(getattr(metrics, name), Histogram)}
    shown = exported - {"joined", "stopping"}
    renamed = {
        **{"bytes": "source_bytes", "skipped": "skipped_offsets", "expired": "expired_offsets"},
        **{"assigned": "assigned_partitions", "opened": "opened_partitions"},
        **{"refused": "refused_partitions", "database_ok": "database_up"},
        **{"broker_ok": "broker_up"},
    }
    missing = [name for name in shown if f"# HELP attestory_{renamed.get(name, name)}" not in text]
    assert missing == []


def test_an_address_that_is_taken_is_said(metrics: Metrics) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{number}"):
            HealthServer("127.0.0.1", number, metrics)
    with pytest.raises(Unavailable, match="cannot listen"):
        HealthServer("192.0.2.1", 0, metrics)


def test_a_client_that_says_nothing_does_not_stop_others(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.send(b"GET ")
        assert get(port, "/healthz")[0] == 200
    with socket.create_connection(("127.0.0.1", port)) as nonsense:
        nonsense.send(b"\x00\xff\r\n\r\n")
        assert json.dumps(nonsense.recv(100).decode(errors="replace"))
    assert get(port, "/healthz")[0] == 200

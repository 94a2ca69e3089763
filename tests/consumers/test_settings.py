"""What a consumer is told: options, environment, limits, and what it says when they are wrong."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from audit.cli.app import app
from audit.errors import InvalidInput
from consumers import logs
from consumers.__main__ import consume
from consumers.settings import Settings, Signatures, parse_health

GOOD = {"bus": "kafka://localhost/t", "store": "sqlite:///audit.db"}


def test_defaults() -> None:
    settings = Settings(**GOOD)
    assert (settings.batch, settings.linger_s) == (5_000, 0.05)
    assert settings.signatures is Signatures.RECORD
    assert settings.group_of("example.com/prod") == "attestory.example.com/prod"
    assert Settings(**GOOD, group="g").group_of("example.com/prod") == "g"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch", 0), ("batch", 50_001), ("linger_ms", -1), ("linger_ms", 60_001)),
        *(("heads_every_s", 0), ("accept_partitions", 0), ("session_timeout_s", 0)),
        *(("group", ""), ("group", "a\nb"), ("group", "g" * 256)),
    ],
)
def test_what_is_out_of_bounds_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidInput):
        Settings(**GOOD, **{name: value})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_health_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_health(text) == address


@pytest.mark.parametrize("text", ["", ":1", "host:", "host:65536", "host:1:2", "ho st:1", "x"])
def test_what_is_no_health_address(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_health(text)


def test_both_commands_have_the_same_options() -> None:
    from audit.cli.operators.consume import consume as as_subcommand

    assert [option.name for option in as_subcommand.params] == [
        option.name for option in consume.params
    ]
    assert all(option.envvar for option in consume.params)


def test_the_environment_says_what_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("consumers.service.run", lambda settings: seen.append(settings) or 0)
    monkeypatch.setattr("consumers.logs.set_up", lambda as_json: None)
    environ = {
        **{"AUDIT_BUS": "kafka://h/t", "AUDIT_STORE": "sqlite:///x.db", "AUDIT_LINGER": "7"},
        **{
            "AUDIT_SIGNATURES": "ignore",
            "AUDIT_HEALTH": "h:9",
            "AUDIT_ONCE": "1",
        },
    }
    result = CliRunner().invoke(consume, [], env=environ)
    assert result.exit_code == 0, result.output
    (settings,) = seen
    assert (settings.bus, settings.store, settings.linger_ms) == (
        "kafka://h/t",
        "sqlite:///x.db",
        7,
    )
    assert (settings.signatures, settings.health) == (Signatures.IGNORE, ("h", 9))
    assert settings.once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no topic to consume"),
        (["--bus", "sqlite:///audit.db"], "kafka://host:9092/topic"),
        (["--bus", "kafka://user:secret@h/t"], "AUDIT_KAFKA_SASL_PASSWORD"),
        (["--bus", "kafka://h/t", "--batch", "0"], "--batch is at least 1"),
        (["--bus", "kafka://h/t", "--health", "x"], "127.0.0.1:9464"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_why(
    ledger_dir: object, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert app.run(["consume", *arguments]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert "secret" not in said


def test_python_m_consumers_ends_likewise() -> None:
    command = [sys.executable, "-m", "consumers", "--bus", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_an_unknown_failpoint_is_refused() -> None:
    command = [sys.executable, "-c", "from consumers.failpoints import check; check()"]
    environ = {**os.environ, "AUDIT_FAILPOINT": "nowhere:1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert "InvalidInput: AUDIT_FAILPOINT is NAME or NAME:COUNT" in done.stderr


@pytest.fixture
def lines() -> object:
    """What is logged, with the root logger put back after."""
    root, own = logging.getLogger(), logs.logger
    before = (root.handlers[:], root.level, own.level)
    yield io.StringIO()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


def test_logs_are_one_json_object_a_line(lines: io.StringIO) -> None:
    logs.set_up(True, lines)
    logs.alarm("two\nlines", partition=3, why=InvalidInput("a\nb"))
    logging.getLogger("library").warning("%s", "says")
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert (first["level"], first["text"], first["partition"]) == ("error", "two lines", 3)
    assert (second["level"], second["logger"], second["text"]) == ("warn", "library", "says")


def test_logs_as_text_show_control_characters_harmlessly(lines: io.StringIO) -> None:
    logs.set_up(False, lines)
    logs.warn("red \x1b[31m", topic="x\ny")
    (line,) = lines.getvalue().splitlines()
    assert "\x1b" not in line and "\\x1b[31m topic=x\\ny" in line

"""What a consumer says while it runs: one line each on stderr, as text or as a JSON object."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = "attestory"
FIELDS = "fields"
MAX_TEXT_CHARS = 2_000
"""Longest text of one line; what brokers and databases answer can be of any length."""

CHATTY = ("kafka.net.selector",)
"""Libraries' loggers that warn of a busy processor, as if that were a fault."""

_LEVELS = {"WARNING": "warn", "CRITICAL": "error"}

logger = logging.getLogger(LOGGER)


def say(level: int, text: str, **fields: object) -> None:
    """Log one line with fields beside it. Never called for a message, at most for a batch."""
    logger.log(level, "%s", text, extra={FIELDS: fields})


def info(text: str, **fields: object) -> None:
    """What an operator may want to know."""
    say(logging.INFO, text, **fields)


def warn(text: str, **fields: object) -> None:
    """What is not as it should be, and being waited for."""
    say(logging.WARNING, text, **fields)


def alarm(text: str, **fields: object) -> None:
    """What somebody has to look at."""
    say(logging.ERROR, text, **fields)


def set_up(as_json: bool, stream: TextIO | None = None) -> None:
    """Send this process's log lines, those of libraries from WARNING on, to stderr."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, text, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": _time(record),
            "level": _level(record),
            "logger": record.name,
            "text": _text(record),
            **_fields(record),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Time, level, text, and name=value for the fields; control characters are shown as such."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {_level(record):5} {_text(record)}{fields}"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _level(record: logging.LogRecord) -> str:
    return _LEVELS.get(record.levelname, record.levelname.lower())


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return " ".join(text.split())[:MAX_TEXT_CHARS]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, FIELDS, None)
    return found if isinstance(found, dict) else {}

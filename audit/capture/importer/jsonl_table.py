"""A JSONL file as rows: one object of typed values a line (see `audit.event.valuejson`)."""

from collections.abc import Iterator

from audit.capture.importer.source import Source, located
from audit.capture.importer.tables import Key, TableRow, key_columns, valid_time_of
from audit.errors import InvalidInput
from audit.event.valuejson import fields_from_json, parse_json


class JsonlTable:
    """The rows of a JSONL file. Lines with nothing in them are skipped."""

    def __init__(self, source: Source, key: Key, valid_time: str | None) -> None:
        """Nothing is read yet."""
        self._source = source
        self._key = key_columns(key)
        self._valid_time = valid_time

    def check(self) -> int:
        """Read all lines; returns how many rows. Raises InvalidInput naming the line."""
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[TableRow]:
        """The rows in order."""
        for place, obj in json_lines(self._source):
            with located(place):
                fields = fields_from_json(obj)
                key = self._key.of_fields(fields)
                valid_us = valid_time_of(fields, self._valid_time)
            yield TableRow(place, key, valid_us, fields, nulls_for_absent=False)
        self._source.finish_pass()


def json_lines(source: Source) -> Iterator[tuple[str, dict[str, object]]]:
    """(place, object) of every line that is not empty. Raises InvalidInput naming the line."""
    for number, line in source.lines():
        text = source.text(number, line).strip(" \t\r\n")
        if not text:
            continue
        place = f"{source.name}, line {number}"
        with located(place):
            obj = parse_json(text)
            if type(obj) is not dict:
                raise InvalidInput(f"not a JSON object but {type(obj).__name__}; one object a line")
        yield place, obj

"""The API as it describes itself: whatever is asked of it, it answers as described, never 500."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import checks

from tests.web.conftest import Web

EXAMPLES = 4
"""Of each address: with invalid text, long text, wrong names and combinations."""


def test_no_address_answers_with_a_bug(web: Web) -> None:
    """Every address with made-up parameters: status, media type and form as described."""
    schema = schemathesis.openapi.from_url(f"{web.url}/openapi.json")
    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=wanted)

        ask()
    assert asked >= EXAMPLES * 20


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_what_it_describes(web: Web, form: str) -> None:
    """Each twin is there with its parameters, among them the point; pages are no API."""
    said = web.get("/openapi.json").json
    paths = [path for path in said["paths"] if path.endswith(f".{form}")]
    assert len(paths) >= (18 if form == "json" else 5)
    for path in paths:
        names = [one["name"] for one in said["paths"][path]["get"]["parameters"]]
        has_point = path.partition(".")[0] not in ("/diff", "/verify")
        assert ({"as_of", "pin"} <= set(names)) is has_point
    others = [path for path in said["paths"] if "." not in path]
    assert others == ["/event/receipt", "/schemas/{digest}"]

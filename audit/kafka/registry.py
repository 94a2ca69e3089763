"""A Confluent-compatible schema registry: which of its ids mean event.v1, and events framed for it.

What the registry does not know, or knows as something else, is no event: FormatError, for the
quarantine. When it does not answer, or not as a registry does, nothing is known about the event:
Unavailable, and the caller waits. An event is never judged by a registry's bad day.
"""

import base64
import http.client
import json
import math
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from audit.errors import FormatError, InvalidInput, NotFound, Unavailable
from audit.event.envelope import EVENT_SCHEMA
from audit.event.fingerprint import SINGLE_OBJECT_MAGIC
from audit.event.valuejson import parse_json
from audit.kafka.same_schema import same_schema
from audit.kafka.wire import (
    HEADER_BYTES,
    MAX_SCHEMA_ID,
    from_confluent,
    single_object,
    to_confluent,
)

USER_VARIABLE = "AUDIT_REGISTRY_USER"
PASSWORD_VARIABLE = "AUDIT_REGISTRY_PASSWORD"

ANSWER_SECONDS = 10.0
"""How long one request may take, from looking up the host's name to the last byte."""
NEGATIVE_SECONDS = 2.0
"""How long "unknown" and "another schema" are believed: it may be registered a moment later."""
MAX_ANSWER_BYTES = 2_000_000
"""Longest answer that is read. Registries hold schemas of up to a megabyte."""
MAX_REMEMBERED_IDS = 10_000
"""How many ids are remembered: a producer of nonsense can make up billions."""
CHUNK_BYTES = 65_536

_NO_SCHEMA = frozenset({40403})
_NO_VERSION = frozenset({40401, 40402})
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_ADDRESS = re.compile(r"https?://[!-~]+", re.ASCII)


class _Verdict(NamedTuple):
    """What the registry said about an id: is it event.v1 (None: unknown), believed until when."""

    is_event: bool | None
    until: float


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: credentials go to the named registry alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Registry:
    """One registry by its address. For Apicurio it ends in /apis/ccompat/v7."""

    def __init__(
        self,
        url: str,
        environ: Mapping[str, str] = os.environ,
        *,
        timeout_s: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet. Raises InvalidInput for what is no address of a registry."""
        self.url = checked_address(url)
        self._headers = {"Accept": f"{_MEDIA_TYPE}, application/json", **_authorization(environ)}
        self._timeout_s = timeout_s
        self._clock = clock
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._verdicts: dict[int, _Verdict] = {}

    def schema_id(self, subject: str, canonical_schema: bytes) -> int:
        """The id of a schema under a subject; registered there when its latest is another one.

        A latest version that means the same, as somebody else registered it, is good enough: the
        writer then needs no right to register. Raises Unavailable, also when the registry refuses.
        """
        versions = f"/subjects/{quote(subject, safe='')}/versions"
        latest = self._ask("GET", f"{versions}/latest", _NO_VERSION)
        if latest is not None and self._holds(latest, canonical_schema):
            return self._id_of(latest)
        body = json.dumps({"schema": canonical_schema.decode()}).encode()
        answer = self._ask("POST", versions, frozenset(), body)
        return self._id_of(answer or {})

    def is_event_schema(self, schema_id: int) -> bool:
        """True when the registry's schema of this id is event.v1, False when it is another one.

        Asked once and remembered; a negative answer only briefly. Raises NotFound when the registry
        has no such id, Unavailable when it does not say.
        """
        verdict = self._verdicts.get(schema_id)
        if verdict is None or (not verdict.is_event and verdict.until <= self._clock()):
            answer = self._ask("GET", f"/schemas/ids/{schema_id}", _NO_SCHEMA)
            is_event = None if answer is None else self._holds(answer, EVENT_SCHEMA)
            verdict = _Verdict(is_event, math.inf if is_event else self._clock() + NEGATIVE_SECONDS)
            if len(self._verdicts) >= MAX_REMEMBERED_IDS:
                self._verdicts.clear()
            self._verdicts[schema_id] = verdict
        if verdict.is_event is None:
            raise NotFound(f"the schema registry has no schema {schema_id}")
        return verdict.is_event

    def avro_schema(self, schema_id: int) -> str:
        """The text of any Avro schema. Not remembered.

        Raises NotFound when the registry has none of this id, FormatError for what is no Avro, or
        refers to other schemas; Unavailable when it does not say.
        """
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", _NO_SCHEMA)
        if answer is None:
            raise NotFound(f"the schema registry has no schema {schema_id}")
        text = answer.get("schema")
        if not isinstance(text, str):
            raise self._failed("answered without a schema")
        if answer.get("schemaType") not in (None, "AVRO") or answer.get("references"):
            raise FormatError(f"schema {schema_id} of the registry is no Avro schema by itself")
        return text

    def _holds(self, answer: Mapping[str, Any], canonical_schema: bytes) -> bool:
        text = answer.get("schema")
        if not isinstance(text, str):
            raise self._failed("answered without a schema")
        # Avro goes without saying; JSON Schema and Protobuf are named.
        is_avro = answer.get("schemaType") in (None, "AVRO")
        return is_avro and same_schema(text, canonical_schema)

    def _id_of(self, answer: Mapping[str, Any]) -> int:
        schema_id = answer.get("id")
        if type(schema_id) is not int or not 0 <= schema_id <= MAX_SCHEMA_ID:
            raise self._failed("answered without a schema id")
        return schema_id

    def _failed(self, what: str) -> Unavailable:
        return Unavailable(f"the schema registry {self.url} {what}")

    def _ask(
        self, method: str, path: str, absent: frozenset[int], body: bytes | None = None
    ) -> dict[str, Any] | None:
        """The JSON object it answers; None for a 404 whose error code says: there is none."""
        headers = self._headers | ({"Content-Type": _MEDIA_TYPE} if body is not None else {})
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        status, text = self._in_time(request)
        if status not in (200, 404):
            raise self._failed(_refusal(status))
        try:
            answer = parse_json(text)
        except InvalidInput:
            answer = None
        if status == 404:
            # An error code of this API: any web server has pages that it does not find.
            code = answer.get("error_code") if isinstance(answer, dict) else None
            if isinstance(code, int) and code in absent:
                return None
            raise self._failed(_refusal(status))
        if not isinstance(answer, dict):
            raise self._failed("does not answer with a JSON object")
        return answer

    def _in_time(self, request: urllib.request.Request) -> tuple[int, bytes]:
        """Status and body. On a thread of its own: a name server that hangs, or a server that
        sends a byte now and then, cannot be interrupted, only left behind."""
        results: SimpleQueue[tuple[int, bytes] | Exception] = SimpleQueue()

        def run() -> None:
            try:
                results.put(self._exchange(request))
            except Exception as error:  # goes to the caller, who tells what it means
                results.put(error)

        threading.Thread(target=run, name="schema-registry", daemon=True).start()
        try:
            result = results.get(timeout=self._timeout_s)
        except Empty:
            raise self._failed(f"did not answer within {self._timeout_s:g} s") from None
        if isinstance(result, tuple):
            return result
        if isinstance(result, Unavailable):
            raise result
        if isinstance(result, OSError | http.client.HTTPException | ValueError):
            raise self._failed(f"gave no answer: {_cause(result)}") from None
        raise result

    def _exchange(self, request: urllib.request.Request) -> tuple[int, bytes]:
        end = time.monotonic() + self._timeout_s
        try:
            answer = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = bytearray()
            while chunk := answer.read1(CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise self._failed(f"answers with more than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > end:
                    raise TimeoutError("timed out")
            return answer.status, bytes(body)


class RegistryFraming:
    """Events of one topic in a registry's framing. Make a new one for a new connection."""

    def __init__(self, registry: Registry, topic: str) -> None:
        """The subject is `<topic>-value`, as every Confluent client names it by default."""
        self._registry = registry
        self._subject = f"{topic}-value"
        self._schema_id: int | None = None
        self._event_header = b""  # the last one that meant event.v1: nearly all are the same

    def encode(self, event: bytes) -> bytes:
        """The event as a message's value; event.v1 is registered first. Raises Unavailable."""
        if self._schema_id is None:
            self._schema_id = self._own_id()
        return to_confluent(event, self._schema_id)

    def decode(self, value: bytes) -> bytes:
        """The event of a message's value; one that is not framed is passed on as it is.

        A topic that was given a registry later holds both. Raises FormatError for what belongs in
        the quarantine, Unavailable while nothing can be said.
        """
        if value[:HEADER_BYTES] == self._event_header and len(value) > HEADER_BYTES:
            return single_object(value[HEADER_BYTES:])
        if value[:2] == SINGLE_OBJECT_MAGIC:
            return value
        schema_id, body = from_confluent(value)
        try:
            is_event = self._registry.is_event_schema(schema_id)
        except NotFound as error:
            raise FormatError(f"unknown envelope version: {error}") from None
        if not is_event:
            raise FormatError(
                f"unknown envelope version: schema {schema_id} of the registry is not event.v1"
            )
        self._event_header = value[:HEADER_BYTES]
        return single_object(body)

    def _own_id(self) -> int:
        schema_id = self._registry.schema_id(self._subject, EVENT_SCHEMA)
        # Read back, because consumers will: with a wrong id every event would be quarantined.
        try:
            is_event = self._registry.is_event_schema(schema_id)
        except NotFound:
            is_event = False
        if not is_event:
            raise Unavailable(
                f"the schema registry {self._registry.url} gave id {schema_id} for event.v1, "
                "but does not have event.v1 there"
            )
        return schema_id


def checked_address(url: str) -> str:
    """The address without a slash at its end. Raises InvalidInput, repeating no password."""
    if "@" in url:
        raise InvalidInput(
            f"no user or password in the registry's address: set {USER_VARIABLE} "
            f"and {PASSWORD_VARIABLE}"
        )
    try:
        parts = urlsplit(url) if _ADDRESS.fullmatch(url) else None
        good = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "?" in url or "#" in url:
        raise InvalidInput("a registry's address is http(s)://HOST[:PORT][/PATH], no ? and no #")
    return url.rstrip("/")


def _authorization(environ: Mapping[str, str]) -> dict[str, str]:
    user, password = environ.get(USER_VARIABLE, ""), environ.get(PASSWORD_VARIABLE, "")
    if not user and not password:
        return {}
    if not user or ":" in user:
        raise InvalidInput(f"{USER_VARIABLE} is the name for {PASSWORD_VARIABLE}, without a colon")
    secret = base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape"))
    return {"Authorization": f"Basic {secret.decode()}"}


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"refuses (HTTP {status}): see {USER_VARIABLE}, {PASSWORD_VARIABLE} and its rights"
    if status == 404:
        return "is not the API of a registry (HTTP 404): Apicurio's ends in /apis/ccompat/v7"
    if status in (409, 422):
        return f"refuses event.v1 (HTTP {status}): its subject holds, or allows, other schemas only"
    if 300 <= status < 400:
        return f"answers with a redirect (HTTP {status}): give its final address"
    return f"answered HTTP {status}"


def _cause(error: Exception) -> str:
    """What went wrong on this side of the network; never what a server said."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    words = reason.strerror if isinstance(reason, OSError) else None
    return words or type(reason).__name__

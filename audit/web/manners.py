"""What HTTP adds to an answer: whether it is still the same, what follows it, how it is packed."""

import unicodedata
import zlib
from hashlib import sha256
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from audit.web.answer import Answer, Asked, Screen, address_of_form

MIN_PACKED_BYTES = 2_000
"""A shorter body is sent as it is."""
PACKING_LEVEL = 1
"""Of zlib: most of the gain for a fifth of the time."""
MAX_LINK_BYTES = 4_000
"""A longer address is not put into a header: proxies refuse answers for it."""
MAX_TAGS_CHARS = 4_096
"""Longest `If-None-Match` that is read."""
MAX_NAME_CHARS = 80
"""Of a file that an answer is saved as."""
REVALIDATED = "private, no-cache"
"""Of pinned answers: a browser may keep one, and asks each time whether it is the same. Not
`immutable`: a look that nobody is asked for is not recorded, and a ledger that was rolled back or
exchanged would go on being shown from the browser's cache."""

_PACKED = "-gzip"


def body_response(request: Request, body: bytes, media_type: str, pinned: bool) -> Response:
    """A body with its tag, packed where that is accepted and worthwhile; or 304.

    The tag is of the bytes: it stands for the sizes, the parameters and the build that made them.
    """
    tag = sha256(body).hexdigest()[:32]
    packed = len(body) >= MIN_PACKED_BYTES and _takes_gzip(request)
    headers = {
        "etag": f'"{tag}{_PACKED if packed else ""}"',
        "vary": "accept, accept-encoding",
    }
    if pinned:
        headers["cache-control"] = REVALIDATED
    if tag in _known_tags(request):
        return Response(None, 304, headers)
    if packed:
        headers["content-encoding"] = "gzip"
        body = _gzip(body)
    return Response(body, 200, headers, media_type)


def link_header(screen: Screen, form: str, asked: Asked, answer: Answer) -> str:
    """The permalink of an answer, and the page that follows it, in the same form (RFC 8288)."""
    here = address_of_form(screen, form)
    targets = {"canonical": answer.permalink or asked.permalink, "next": answer.next}
    links = [
        f'<{here}{target[len(screen.path) :]}>; rel="{relation}"'
        for relation, target in targets.items()
        if target is not None and len(target) <= MAX_LINK_BYTES
    ]
    return ", ".join(links)


def attachment(file_name: str) -> str:
    """A `Content-Disposition` (RFC 6266); what is not ASCII is spelled as RFC 8187 has it."""
    plain = "".join(c if c.isascii() else "-" for c in file_name)
    said = f'attachment; filename="{plain}"'
    return said if plain == file_name else f"{said}; filename*=UTF-8''{quote(file_name, safe='')}"


def file_name(title: str) -> str:
    """A title as a name of a file: letters, digits, - and _, of any script."""
    spelled = unicodedata.normalize("NFC", title)
    kept = "".join(c if _is_of_names(c) else "-" for c in spelled[: 2 * MAX_NAME_CHARS])
    return kept.strip("-")[:MAX_NAME_CHARS] or "attestory"


def _is_of_names(character: str) -> bool:
    return character in "-_" or unicodedata.category(character)[0] in "LMN"


def _takes_gzip(request: Request) -> bool:
    for part in request.headers.get("accept-encoding", "")[:MAX_TAGS_CHARS].lower().split(","):
        name, _, quality = part.replace(" ", "").partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(PACKING_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def _known_tags(request: Request) -> set[str]:
    """What `If-None-Match` names, however it was packed then. `*` says nothing here."""
    said = request.headers.get("if-none-match", "")[:MAX_TAGS_CHARS]
    tags = (one.strip().removeprefix("W/").strip('"') for one in said.split(","))
    return {tag.removesuffix(_PACKED) for tag in tags}

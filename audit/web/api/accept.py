"""Whether who asks wants a page or data, by the address and by the `Accept` header (RFC 9110)."""

SUFFIXES = (".json", ".csv", ".parquet")
"""What an address of data ends with."""
FILES = ("/event/receipt", "/schemas/", "/openapi")
"""Addresses of files, which are no pages."""
MAX_ACCEPT_CHARS = 1_024
"""Longest `Accept` header that is read; what is beyond it says nothing."""

_PAGE, _DATA = ("text", "html"), ("application", "json")


def wants_data(path: str, accept: str) -> bool:
    """Whether data is wanted: the suffix of the address says it, else what is accepted."""
    return path.endswith(SUFFIXES) or path.startswith(FILES) or prefers_json(accept)


def prefers_json(accept: str) -> bool:
    """Whether JSON is wanted rather than a page. A page is what those get who take anything."""
    return _wanted(accept, _DATA) > _wanted(accept, _PAGE)


def _wanted(accept: str, kind: tuple[str, str]) -> tuple[float, int]:
    """(quality, how closely it was named): of the closest range that the kind is in."""
    closest, quality = -1, 0.0
    for part in accept[:MAX_ACCEPT_CHARS].lower().split(","):
        named, *parameters = [one.strip() for one in part.split(";")]
        main, _, sub = named.partition("/")
        fits = (main in (kind[0], "*"), sub in (kind[1], "*"))
        close = (main == kind[0]) + (sub == kind[1])
        if all(fits) and close > closest:
            closest, quality = close, _quality(parameters)
    return quality, closest if quality else 0


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip() == "q":
            text = value.strip()
            plain = len(text) <= len("0.000") and text.replace(".", "", 1).isdigit()
            return min(1.0, float(text)) if plain and text.isascii() else 0.0
    return 1.0

"""Writing terms of the query language, so that what was recorded stays one value in them."""


def term(qualifier: str, value: str) -> str:
    """A term that fits exactly this value."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{qualifier}:"{quoted}"'

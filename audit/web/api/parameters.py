"""A parameter of an address as OpenAPI has it: its type, its limits, an example."""

from typing import Any

from audit.web.answer import MAX_PARAMETER_CHARS, Parameter


def described(parameter: Parameter) -> dict[str, Any]:
    """One parameter."""
    said: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.about,
        "schema": _schema(parameter),
    }
    if parameter.example:
        said["example"] = parameter.example
    return said


def _schema(parameter: Parameter) -> dict[str, Any]:
    if parameter.most is not None:
        return {"type": "integer", "minimum": parameter.least, "maximum": parameter.most}
    if parameter.choices:
        return {"type": "string", "enum": list(parameter.choices)}
    return {"type": "string", "maxLength": MAX_PARAMETER_CHARS}

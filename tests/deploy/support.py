"""Reads what deploy/ holds, strictly: YAML, Dockerfile, environment files, PromQL."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

Labels = frozenset[str]


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML readers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        doubled = {key for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.YAMLError(f"{node.start_mark}: twice the key {doubled}")
        return super().construct_mapping(node, deep)


def load_yaml(name: str) -> Any:
    return yaml.load((DEPLOY / name).read_text(), StrictLoader)


# Variables of a compose file, as the compose specification writes them


_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<how>:?[-?+])(?P<word>[^}]*))?\}|(?P<bare>\w+))"
)


class Variable(NamedTuple):
    """`required`: without it compose stops. `default`: what stands when it is not set."""

    name: str
    required: bool
    default: str | None


def variables(text: str) -> Iterator[Variable]:
    for match in _VARIABLE.finditer(text):
        name = match["name"] or match["bare"]
        if name is not None:
            how, word = match["how"] or "", match["word"]
            yield Variable(name, how.endswith("?"), word if how.endswith("-") else None)


def interpolate(value: Any, environ: Mapping[str, str]) -> Any:
    """The value as compose would see it. KeyError for a required variable that is not set."""
    if isinstance(value, dict):
        return {key: interpolate(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environ) for item in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        found = next(variables(match[0]))
        if environ.get(found.name):
            return environ[found.name]
        if found.required:
            raise KeyError(found.name)
        return found.default or ""

    return _VARIABLE.sub(replaced, value)


def env_file(name: str) -> dict[str, str]:
    """Every setting of an environment file; those that are commented out count as documented."""
    found = {}
    for line in (DEPLOY / name).read_text().splitlines():
        match = re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line)
        if match:
            assert match[1] not in found, f"{match[1]} stands twice in {name}"
            found[match[1]] = match[2]
        else:
            assert not line or line.startswith("# ") or line == "#", line
    return found


# Dockerfile


class Instruction(NamedTuple):
    stage: int
    name: str
    text: str


def dockerfile() -> list[Instruction]:
    """The instructions in order, continued lines joined; stage -1 is before the first FROM."""
    found: list[Instruction] = []
    stage, pending = -1, ""
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.lstrip().startswith("#") or not (line.strip() or pending):
            continue
        pending += line.strip().removesuffix("\\")
        if line.endswith("\\"):
            continue
        name, _, text = pending.partition(" ")
        pending = ""
        if name == "FROM":
            stage += 1
        found.append(Instruction(stage, name, re.sub(r"\s+", " ", text).strip()))
    assert pending == "", "the last line is continued"
    return found


# PromQL: which metrics an expression names, and which labels it expects them to have


_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<duration>\[[^\]]*\])"""
    r"""|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:ms|[smhdwy])?\b)"""
    r"""|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"""
    r"""|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_CALLED = {"(", "by", "without"}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}


def tokens(expression: str) -> list[tuple[str, str]]:
    """Tokens as (kind, text). AssertionError for a character that PromQL does not have."""
    found, at = [], 0
    while at < len(expression):
        if expression[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(expression, at)
        assert match is not None, f"not PromQL at {expression[at : at + 20]!r}"
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[0]))
        at = match.end()
    return found


def metrics_of(expression: str) -> dict[str, Labels]:
    """The metrics that an expression names, with the labels that its matchers name for each."""
    found: dict[str, set[str]] = {}
    parsed = tokens(expression)
    inside, last = None, None
    for at, (kind, text) in enumerate(parsed):
        following = parsed[at + 1][1] if at + 1 < len(parsed) else ""
        if text == "{":
            inside = "labels"
        elif inside is None and text in _GROUPING and following == "(":
            inside = "grouping"
        elif (text == "}" and inside == "labels") or (text == ")" and inside == "grouping"):
            inside = None
        elif kind != "name":
            continue
        elif inside == "labels":
            assert last is not None, f"a selector without a metric in {expression!r}"
            found[last].add(text)
        elif inside is None and text not in _WORDS and following not in _CALLED:
            last = text
            found.setdefault(text, set())
    return {name: frozenset(labels) for name, labels in found.items()}


def grouping_labels(expression: str) -> Labels:
    """The labels that stand after by, on and the like."""
    found: set[str] = set()
    for match in re.finditer(rf"\b(?:{'|'.join(_GROUPING)})\s*\(([^)]*)\)", expression):
        found |= {name.strip() for name in match[1].split(",") if name.strip()}
    return frozenset(found)


def rules() -> list[dict[str, Any]]:
    return [rule for group in load_yaml("alerts.yml")["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    path = DEPLOY / "grafana" / "dashboards" / "attestory.json"
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def panel_expressions() -> list[tuple[str, str]]:
    """Title and expression of every query, Grafana's own variables replaced by what they become."""
    found = []
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
            found.append((panel["title"], expression))
    return found

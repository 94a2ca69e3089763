"""Reads the golden vectors back."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "vectors" / "tlog"


def cases(name):
    """The cases of a file as pytest parameters named by their mutation."""
    return [pytest.param(case, id=case["name"]) for case in load(name) if case["name"]]


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def vkeys(name):
    return load(name)[0]["vkeys"]


def note_of(case):
    return b"x" * case.get("leading_x", 0) + b64decode(case["note"])


def hashes(texts):
    return [b64decode(text) for text in texts]

"""REFs: what a text names, and what is refused."""

import pytest

from audit.errors import InvalidInput, LimitExceeded
from audit.replay.refs import Ref, is_ref, parse_entity, parse_ref


@pytest.mark.parametrize(
    ("text", "entity_type", "key"),
    [
        ("user/5", "user", "5"),
        ("user/a/b//c", "user", "a/b//c"),
        ("user/", "user", ""),
        ("user/ 5\n", "user", " 5\n"),
        ('order/["a",1]', "order", '["a",1]'),
        ("a.b-c_d9/x", "a.b-c_d9", "x"),
        ("prediction/018f", "prediction", "018f"),
        ("run/a/b", "run", "a/b"),
        ("user/" + "k" * 1024, "user", "k" * 1024),
    ],
)
def test_the_first_slash_separates_entity_and_key(text: str, entity_type: str, key: str) -> None:
    assert parse_ref(text) == Ref(entity_type, key)
    assert str(parse_ref(text)) == text
    assert is_ref(text)


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [("model/risk@3", "risk", "3"), ("dataset/a@b@c", "a@b", "c"), ("model/x/y@1", "x/y", "1")],
)
def test_models_and_datasets_have_a_version(text: str, name: str, version: str) -> None:
    ref = parse_ref(text)
    assert (ref.name, ref.version, ref.is_row) == (name, version, False)


def test_a_row_has_no_version_and_its_key_may_hold_an_at_sign() -> None:
    ref = parse_ref("user/a@b")
    assert (ref.name, ref.version, ref.is_row) == ("a@b", None, True)


@pytest.mark.parametrize(
    "text",
    ["user", "", "/5", "User/5", "9user/5", "üser/5", "user /5", "schema/x", "key/x", "prediction/",
     "run/", "model/risk", "model/@1", "model/risk@", "dataset/", "a" * 129 + "/5"],
)  # fmt: skip
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_ref(text)


def test_a_key_over_1024_bytes_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        parse_ref("user/" + "é" * 513)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_ref("user/\ud800")


@pytest.mark.parametrize("word", ["prediction", "run", "model", "dataset", "schema", "key"])
def test_reserved_words_are_no_datasets(word: str) -> None:
    with pytest.raises(InvalidInput):
        parse_entity(word)

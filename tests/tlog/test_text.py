"""Decimals and base64 have one spelling each."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.tlog.text import encode_base64, parse_base64, parse_decimal


@given(st.integers(0, 2**63 - 1))
def test_decimals(number):
    assert parse_decimal(str(number), "it") == number


@pytest.mark.parametrize(
    "text",
    ["", "07", "+7", "-7", "-0", "7_0", " 7", "7 ", "7\n", "7.0", "7e0", "0x7", "\u0667", "\uff17",
     "9223372036854775808", "9" * 5000],
)  # fmt: skip
def test_not_a_decimal(text):
    with pytest.raises(FormatError, match=r"^it is not a decimal number"):
        parse_decimal(text, "it")


@given(st.binary(max_size=100))
def test_base64(data):
    assert encode_base64(data) == b64encode(data).decode()
    assert parse_base64(encode_base64(data), "it") == data


@pytest.mark.parametrize(
    "text",
    ["QR==", "QUJ=", "QQ", "QQ=", "QQ===", "=", "QQ==\n", " QQ==", "Q Q==", "QQ==QQ==", "-_==",
     "QQ==!", "\u0661\u0661==", "\ud800", "A", "QUJD="],
)  # fmt: skip
def test_not_base64(text):
    with pytest.raises(FormatError, match=r"^it is not (standard|canonical) base64"):
        parse_base64(text, "it")


@given(st.text("AQ=+/-_ \n", max_size=12))
def test_one_spelling(text):
    try:
        data = parse_base64(text, "it")
    except FormatError:
        return
    assert encode_base64(data) == text

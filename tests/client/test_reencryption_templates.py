"""Encryption contexts from columns: what a template may say, and what it never does."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pytest

from hsmkms.reencryption.templates import TemplateProblem, read_template

IDENTITY = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("a b", "a b"),
        (17, "17"),
        (True, "true"),
        (decimal.Decimal("1.50"), "1.50"),
        (IDENTITY, str(IDENTITY)),
        (dt.date(2026, 2, 1), "2026-02-01"),
        (dt.datetime(2026, 2, 1, 3, 4, tzinfo=dt.UTC), "2026-02-01T03:04:00+00:00"),
    ],
)
def test_columns_have_one_spelling(value, spelled):
    template = read_template('{"tenant": "t-{tenant id}", "purpose": "dek"}')
    assert template.columns == ("tenant id",)
    assert template.context_of({"tenant id": value, "other": 1}) == {"tenant": f"t-{spelled}", "purpose": "dek"}


def test_what_a_column_holds_is_never_a_template():
    template = read_template('{"a": "{x}{{x}}{y}"}')
    assert template.context_of({"x": "{y}", "y": "{{}"}) == {"a": "{y}{x}{{}"}


def test_there_are_no_attributes_indexes_or_formats():
    template = read_template('{"a": "{x.__class__} {x[0]} {x!r:>10}"}')
    assert template.columns == ("x.__class__", "x[0]", "x!r:>10")
    with pytest.raises(TemplateProblem, match=r"there is no 'x\.__class__'"):
        template.context_of({"x": "1"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"a": 1}', "whose values are texts"),
        ('{"a": "1", "a": "2"}', "twice"),
        ('{"a": "{x"}', "single brace in the value of 'a'"),
        ('{"a": "x}"}', "single brace"),
        ('{"a": "{}"}', "single brace"),
    ],
)
def test_what_is_no_template_is_refused(text, words):
    with pytest.raises(TemplateProblem, match=words):
        read_template(text)


@pytest.mark.parametrize(
    ("value", "words"), [(None, "NULL"), ("secret\ud800", "UTF-8"), (1.5, "float"), (b"secret", "bytes"), ({}, "dict")]
)
def test_a_value_without_one_spelling_is_refused_and_not_shown(value, words):
    with pytest.raises(TemplateProblem, match=words) as raised:
        read_template('{"a": "{x}"}').context_of({"x": value})
    assert "secret" not in str(raised.value)

"""What is typed, and what becomes of it: the AWS CLI's forms."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from hsmkms.cli.values import MAX_INPUT_BYTES, Form, Kind, ValueProblem, form_of, read_value
from hsmkms.client.contract import GrantConstraints, Tag

MAP = Form(Kind.MAP)
LIST = Form(Kind.LIST)
TAGS = Form(Kind.LIST, Tag)
CONSTRAINTS = Form(Kind.STRUCTURE, GrantConstraints)


@pytest.mark.parametrize(
    ("annotation", "form"),
    [
        (str | None, Form(Kind.TEXT)),
        (bytes | None, Form(Kind.BLOB)),
        (int | None, Form(Kind.INTEGER)),
        (bool | None, Form(Kind.BOOLEAN)),
        (datetime | None, Form(Kind.TIME)),
        (Mapping[str, str], MAP),
        (tuple[str, ...], LIST),
        (tuple[Tag, ...], TAGS),
        (GrantConstraints | None, CONSTRAINTS),
    ],
)
def test_the_form_follows_from_the_type(annotation, form):
    assert form_of(annotation) == form


@pytest.mark.parametrize(
    ("form", "typed", "value"),
    [
        (Form(Kind.TEXT), "alias/a", "alias/a"),
        (Form(Kind.INTEGER), "32", 32),
        (Form(Kind.INTEGER), "-1", -1),
        (Form(Kind.BOOLEAN), False, False),
        (Form(Kind.TIME), "2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        (Form(Kind.TIME), "2027-01-31T12:00:00", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        (Form(Kind.TIME), "2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        (Form(Kind.TIME), "1700000000.5", datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)),
        (Form(Kind.BLOB), "AAEC", b"\0\1\2"),
        (Form(Kind.BLOB), "AA\nEC\n", b"\0\1\2"),
        (Form(Kind.BLOB), "", b""),
        (MAP, "", {}),
        (MAP, "a=1", {"a": "1"}),
        (MAP, "a=1,b=2", {"a": "1", "b": "2"}),
        (MAP, "a=,b=2", {"a": "", "b": "2"}),
        (MAP, "a=b=c", {"a": "b=c"}),
        (MAP, "url=https://x/?q=1,b=2", {"url": "https://x/?q=1", "b": "2"}),
        (MAP, 'a="1,2",b=3', {"a": "1,2", "b": "3"}),
        (MAP, "a='1,2'", {"a": "1,2"}),
        (MAP, r'a="say \"hi\""', {"a": 'say "hi"'}),
        (MAP, r"a=1\,2,b=3", {"a": "1,2", "b": "3"}),
        (MAP, "ключ=значение", {"ключ": "значение"}),
        (MAP, ' {"a": "1,2"} ', {"a": "1,2"}),
        (LIST, ["a", "b"], ("a", "b")),
        (LIST, ['["a", "b"]'], ("a", "b")),
        (CONSTRAINTS, "EncryptionContextSubset={a=1,b=2}", GrantConstraints({"a": "1", "b": "2"})),
        (CONSTRAINTS, "EncryptionContextEquals={a='1,}2'}", GrantConstraints({}, {"a": "1,}2"})),
        (CONSTRAINTS, "EncryptionContextSubset={a=1},EncryptionContextEquals={}", GrantConstraints({"a": "1"}, {})),
        (CONSTRAINTS, '{"EncryptionContextEquals": {"a": "1"}}', GrantConstraints({}, {"a": "1"})),
        (TAGS, ["TagKey=a,TagValue=b", "TagKey=c,TagValue="], (Tag("a", "b"), Tag("c", ""))),
        (TAGS, ['{"TagKey": "a", "TagValue": "b"}'], (Tag("a", "b"),)),
        (TAGS, ['[{"TagKey": "a", "TagValue": "b"}]'], (Tag("a", "b"),)),
        (TAGS, ["TagKey=a"], (Tag("a", None),)),
    ],
)
def test_values(form, typed, value):
    assert read_value(form, typed) == value


@pytest.mark.parametrize(
    ("form", "typed", "problem"),
    [
        (Form(Kind.INTEGER), "many", "not a whole number"),
        (Form(Kind.INTEGER), "2147483648", "out of range"),
        (Form(Kind.BLOB), "not base64!", "fileb://PATH"),
        (Form(Kind.BLOB), "AAA", "not base64"),
        (Form(Kind.BLOB), "fileb:///no/such/file", "cannot read /no/such/file: No such file"),
        (Form(Kind.BLOB), "fileb://", "cannot read"),
        (Form(Kind.BLOB), "fileb://a\0b", "names no file"),
        (Form(Kind.BLOB), "fileb:///dev/zero", "more than 262144 bytes"),
        (Form(Kind.TEXT), "\udcff", "not UTF-8"),
        (MAP, "a", "KEY=VALUE"),
        (MAP, "=a", "KEY=VALUE"),
        (MAP, 'a="1', "KEY=VALUE"),
        (MAP, "a=1,a=2", "'a' twice"),
        (MAP, '{"a": 1}', "values are texts"),
        (MAP, '{"a": "1", "a": "2"}', "twice"),
        (MAP, "{", "not JSON"),
        (MAP, '{"a":' * 100_000, "not JSON"),
        (LIST, ["[1]"], "list of texts"),
        (TAGS, ["Key=a"], "no member 'Key'; write TagKey=VALUE,TagValue=VALUE"),
        (TAGS, ["[1]"], "values are texts"),
        (CONSTRAINTS, "Subset={a=1}", "no member 'Subset'; write EncryptionContextSubset={KEY=VALUE},"),
        (CONSTRAINTS, "EncryptionContextSubset=a", "values are texts"),
        (CONSTRAINTS, "EncryptionContextSubset={a=1", "values are texts"),
        (CONSTRAINTS, "EncryptionContextSubset={a=1}x", "values are texts"),
        (CONSTRAINTS, "EncryptionContextSubset={a}", "neither KEY=VALUE"),
        (CONSTRAINTS, '{"EncryptionContextSubset": {"a": 1}}', "values are texts"),
        (CONSTRAINTS, "[]", "neither KEY=VALUE"),
    ],
)
def test_values_that_are_refused(form, typed, problem):
    with pytest.raises(ValueProblem, match=problem):
        read_value(form, typed)


def test_a_refusal_does_not_repeat_what_may_be_secret():
    with pytest.raises(ValueProblem) as refused:
        read_value(Form(Kind.BLOB), "my secret plaintext")
    assert "secret" not in str(refused.value)


def test_files_stand_for_what_they_hold(tmp_path):
    blob, encoded, pairs = tmp_path / "blob", tmp_path / "encoded", tmp_path / "pairs.json"
    blob.write_bytes(b"\0\1\2")
    encoded.write_text("AAEC\n")
    pairs.write_text('{"a": "1"}')
    assert read_value(Form(Kind.BLOB), f"fileb://{blob}") == b"\0\1\2"
    assert read_value(Form(Kind.BLOB), f"file://{encoded}") == b"\0\1\2"
    assert read_value(MAP, f"file://{pairs}") == {"a": "1"}


def test_standard_input_is_read_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff" * MAX_INPUT_BYTES)))
    assert read_value(Form(Kind.BLOB), "-") == b"\xff" * MAX_INPUT_BYTES
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff" * (MAX_INPUT_BYTES + 1))))
    with pytest.raises(ValueProblem, match="standard input holds more than"):
        read_value(Form(Kind.BLOB), "-")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueProblem, match="closed"):
        read_value(Form(Kind.BLOB), "-")


@pytest.mark.parametrize("typed", ["tomorrow", "", "2027-13-01", "1" * 30, "99999999999999"])
def test_what_is_no_time_is_refused(typed):
    with pytest.raises(ValueProblem, match="is no time"):
        read_value(Form(Kind.TIME), typed)

"""JSON Lines and CSV: a record that changes keeps everything but its ciphertext; a copy is cut where the journal says."""

from __future__ import annotations

import base64
import io
import json

import pytest

from hsmkms.reencryption.files import FileStore
from hsmkms.reencryption.formats import Csv, JsonLines, RecordProblem
from hsmkms.reencryption.rows import Outcome, StoreProblem


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "line",
    [
        '{"n": 1.10, "blob": "b2xk", "big": 12345678901234567890, "e": 1e400}\n',
        '{ "blob"  :  "b2xk" , "nested": {"blob": "b2xk", "x": [1, {"blob": 2}]}}',
        '{"nested": {"blob": "b2xk"}, "x\\"blob": "b2xk", "blo\\u0062": "b\\u0032xk"}\r\n',
        '{"text": "{\\"blob\\": \\"b2xk\\"}","blob":"b2xk"}\n',
    ],
)
def test_a_json_line_changes_in_one_value_only(line):
    form = JsonLines("blob")
    text, _ = form.read(line.encode())
    assert text == "b2xk"
    changed = form.changed(line.encode(), "bmV3").decode()
    before, after = (json.loads(each, parse_float=str) for each in (line, changed))
    assert after == {**before, "blob": "bmV3"}
    assert len(changed.encode()) <= len(line.encode())
    assert changed.endswith(line[line.rindex("}") :])


@pytest.mark.parametrize(
    "line",
    [
        "c2Vj",
        '["c2Vj"]',
        '{"blob": ["c2Vj"]}',
        '{"blob": "c2Vj", "blob": "b"}',
        '{"blob": "c2Vj"} x',
        '{"blob": "c2Vj\ud800"}',
    ],
)
def test_a_line_that_cannot_be_read_says_so_and_repeats_nothing(line):
    with pytest.raises(RecordProblem) as raised:
        JsonLines("blob").read(line.encode("utf-8", "surrogatepass"))
    assert "c2Vj" not in str(raised.value)


def test_csv_cells_with_quotes_delimiters_and_line_ends():
    data = b'\xef\xbb\xbfid;note;blob\r\n1;"a;""b""\r\nc";b2xk\r\n2;;\r\n\r\n3;x;bmV4dA=='
    form = Csv("blob", ";")
    file = io.BytesIO(data)
    header = form.begin(file)
    assert header == b"\xef\xbb\xbfid;note;blob\r\n"
    records = list(form.records(file))
    assert [form.read(record) for record in records] == [
        ("b2xk", {"id": "1", "note": 'a;"b"\r\nc', "blob": "b2xk"}),
        (None, {"id": "2", "note": "", "blob": ""}),
        (None, {}),
        ("bmV4dA==", {"id": "3", "note": "x", "blob": "bmV4dA=="}),
    ]
    assert form.changed(records[0], "bmV3") == b'1;"a;""b""\r\nc";bmV3\r\n'
    assert form.changed(records[3], "bmV3") == b"3;x;bmV3"
    assert header + b"".join(records) == data


@pytest.mark.parametrize("record", [b"1,2\n", b'1,"2,3\n', b"1,\xff,3\n", b'1,"2"x,3\n'])
def test_a_csv_record_that_cannot_be_read_says_so(record):
    form = Csv("c", ",")
    form.begin(io.BytesIO(b"a,b,c\n"))
    with pytest.raises(RecordProblem):
        form.read(record)


@pytest.mark.parametrize("header", [b"", b"a,b\n", b"c,c\n", b'"c\n'])
def test_a_csv_header_must_name_the_column_once(header):
    with pytest.raises(StoreProblem, match="first line"):
        Csv("c", ",").begin(io.BytesIO(header))


def test_a_copy_is_cut_where_the_journal_says_and_published_once(tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps({"n": number, "blob": encoded(b"old %d" % number)}).encode() + b"\n" for number in range(6)]
    source.write_bytes(b"".join(lines))
    store = FileStore(source, output, JsonLines("blob"))
    store.resume(0)
    rows = store.read(None, 2)
    store.write([Outcome(rows[0], b"new 0"), Outcome(rows[1])])
    mark = store.mark()
    more = store.read(rows[-1].key, 2)
    store.write([Outcome(more[0], b"lost")])
    store.close()
    with store.part.open("ab") as file:
        file.write(b'{"torn": "li' * 100)

    again = FileStore(source, output, JsonLines("blob"))
    again.resume(mark)
    rest = again.read(rows[-1].key, 100)
    assert [row.ciphertext for row in rest] == [b"old 2", b"old 3", b"old 4", b"old 5"]
    assert again.count(rows[-1].key) == 4
    again.write([Outcome(row, b"new") for row in rest])
    again.publish()
    again.publish()
    again.close()
    assert not again.part.exists()
    written = [json.loads(line) for line in output.read_bytes().splitlines()]
    contents = [base64.b64decode(each["blob"]) for each in written]
    assert contents == [b"new 0", b"old 1", b"new", b"new", b"new", b"new"]
    assert [each["n"] for each in written] == list(range(6))
    assert source.read_bytes() == b"".join(lines)


def test_nothing_is_overwritten(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text("{}\n")
    store = FileStore(source, tmp_path / "out", JsonLines("blob"))
    store.part.write_text("somebody's")
    with pytest.raises(StoreProblem, match=r"out\.part is there already"):
        store.require_free()
    with pytest.raises(StoreProblem, match="had 100"):
        store.resume(100)
    (tmp_path / "out").write_text("somebody's")
    for call in (store.require_free, lambda: store.resume(0), store.publish):
        with pytest.raises(StoreProblem, match="there already"):
            call()
    assert store.part.read_text() == (tmp_path / "out").read_text() == "somebody's"
    store.close()

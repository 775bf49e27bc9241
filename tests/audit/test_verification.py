"""Whatever is done to an audit log's records is found, and the record is named."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hsmkms.core.audit import Chain, RecordType, anchor_digest, line_hash
from hsmkms.core.audit_verification import Report, confirm, verify

Lines = list[bytes]
START, ANCHORED, LAST_ANCHOR = 0, 6, 11


def mac(digest: bytes) -> bytes:
    """Stands for the token, which alone can do this."""
    return b"mac of " + digest


def anchor(chain: Chain) -> bytes:
    sequence, last_hash = chain.length - 1, chain.last_hash
    made = mac(anchor_digest(chain.chain_id, sequence, last_hash)).hex()
    return chain.seal({"recordType": "anchor", "anchoredSequence": sequence, "anchoredHash": last_hash, "mac": made})


def request(chain: Chain, name: str = "Decrypt") -> bytes:
    return chain.seal({"recordType": "request", "eventName": name, "requestID": f"request {chain.length}"})


def start(chain: Chain, *previous: bytes, of: Chain | None = None) -> bytes:
    links = [{"chainId": of.chain_id, "sequence": of.length - 1, "hash": line_hash(previous[-1][:-1])}] if of else []
    return chain.seal({"recordType": "start", "deploymentId": "d", "previousChains": links})


def log(chain_id: str = "a" * 32, *, ended: bool = False) -> Lines:
    """start, 5 requests, an anchor (6), 4 requests, an anchor (11), 3 requests; then, if it is ended, an end and its anchor."""
    chain = Chain(chain_id)
    lines = [start(chain), *(request(chain) for _ in range(5)), anchor(chain), *(request(chain) for _ in range(4))]
    lines += [anchor(chain), *(request(chain) for _ in range(3))]
    if ended:
        lines += [chain.seal({"recordType": RecordType.END.value}), anchor(chain)]
    return lines


def check(*files: Lines, partial: bool = False) -> Report:
    report = verify([(f"file{number}", lines) for number, lines in enumerate(files)], partial=partial)
    confirm(report, {entry.digest: mac(entry.digest) for entry in report.anchors})
    return report


def texts(report: Report) -> str:
    return "\n".join(map(str, report.findings))


def rewritten(lines: Lines, position: int, change: Callable[[bytes], bytes]) -> Lines:
    """Change a record as somebody would who computes all later hashes anew."""
    done = lines[:position]
    for line in lines[position:]:
        body = change(line) if len(done) == position else line
        head, _, tail = body.partition(b'"previousHash":"')
        previous = line_hash(done[-1][:-1]) if done else "0" * 64
        done.append(head + b'"previousHash":"' + previous.encode() + tail[64:])
    return done


def test_a_log_that_is_whole() -> None:
    report = check(log(ended=True))
    assert report.findings == []
    assert report.notes == ["chain " + "a" * 32 + ": no anchor covers records 16 to 16"]
    assert (report.records, len(report.anchors)) == (17, 3)


def test_a_log_in_several_files_given_in_any_order() -> None:
    lines = log(ended=True)
    assert check(lines[9:], lines[:4], lines[4:9]).findings == []


@pytest.mark.parametrize(
    ("name", "change", "where", "words"),
    [
        ("changed", lambda lines: change_one(lines, 4, b"Decrypt", b"Encrypt"), "file0:5: record 4", "was changed"),
        ("changed start", lambda lines: change_one(lines, 0, b'"d"', b'"e"'), "file0:1: record 0", "was changed"),
        ("no JSON any more", lambda lines: change_one(lines, 4, b"{", b"["), "file0:5:", "is no record"),
        ("another number", lambda lines: change_one(lines, 4, b":4,", b":9,"), "file0:5: record 9", "number was changed"),
        ("another chain", lambda lines: change_one(lines, 4, b"aaaa", b"aaab"), "file0:5: record 4", "this chain"),
        ("another hash", lambda lines: change_hash(lines, 4), "file0:5: record 4", "was changed"),
        ("removed", lambda lines: lines[:4] + lines[5:], "file0:5: record 5", "record 4 was removed before"),
        ("several removed", lambda lines: lines[:4] + lines[8:], "file0:5: record 8", "records 4 to 7 were removed"),
        ("beginning removed", lambda lines: lines[3:], "file0:1: record 3", "records 0 to 2 were removed"),
        ("reordered", lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "file0:5: record 5", "reordered"),
        ("moved on", lambda lines: [*lines[:4], *lines[5:9], lines[4], *lines[9:]], "file0:5: record 5", "reordered"),
        ("repeated", lambda lines: [*lines[:5], lines[4], *lines[5:]], "file0:6: record 4", "second time"),
        ("inserted", lambda lines: [*lines[:5], b"rubbish\n", *lines[5:]], "file0:6:", "inserted"),
        ("an old one appended", lambda lines: [*lines, lines[4]], "file0:16: record 4", "appended"),
        ("a foreign one appended", lambda lines: [*lines, log("b" * 32)[14]], "file0:16: record 14", "inserted"),
        ("a bad one appended", lambda lines: [*lines, forged(15)], "file0:16: record 15", "appended"),
    ],
)  # fmt: skip
def test_what_was_done_is_found_and_named(name: str, change: Callable[[Lines], Lines], where: str, words: str) -> None:
    report = check(change(log()))
    assert where in texts(report), f"{name}: {texts(report)}"
    assert words in texts(report)
    if name != "moved on":  # where one record was moved over several, each of them stands out of its place
        assert len(report.findings) == 1, texts(report)


def change_one(lines: Lines, position: int, old: bytes, new: bytes) -> Lines:
    assert old in lines[position]
    return [*lines[:position], lines[position].replace(old, new, 1), *lines[position + 1 :]]


def change_hash(lines: Lines, position: int) -> Lines:
    head, _, tail = lines[position].partition(b'"previousHash":"')
    return [*lines[:position], head + b'"previousHash":"' + b"e" * 64 + tail[64:], *lines[position + 1 :]]


def forged(sequence: int) -> bytes:
    chain = Chain("a" * 32)
    chain.length, chain.last_hash = sequence, "f" * 64
    return request(chain, "Forged")


def test_any_bit_of_any_line_but_the_last() -> None:
    chance = random.Random(7)
    for _ in range(400):
        lines = log(ended=True)
        position = chance.randrange(len(lines) - 1)
        line = bytearray(lines[position])
        offset = chance.randrange(len(line) - 1)
        line[offset] ^= 1 << chance.randrange(7)
        report = check([*lines[:position], bytes(line), *lines[position + 1 :]])
        named = {finding.line for finding in report.findings}
        if position == len(lines) - 2:  # the last two disagree, and which of them was changed is not to be told
            named |= {line - 1 for line in named}
        assert position + 1 in named, f"{bytes(line)!r}: {texts(report)}"


def test_a_record_appended_after_the_end() -> None:
    chain = Chain("a" * 32)
    lines = log(ended=True)
    chain.length, chain.last_hash = len(lines), line_hash(lines[-1][:-1])
    assert "record 17: it was appended: the chain had ended" in texts(check([*lines, request(chain)]))


def test_a_tail_cut_before_an_anchor_s_record_leaves_no_trace_but_a_missing_end() -> None:
    report = check(log()[:13])
    assert report.findings == []
    assert any("has no end" in note for note in report.notes)
    assert any("no anchor covers records 11 to 12" in note for note in report.notes)


def test_a_tail_cut_together_with_an_anchor_is_seen_by_the_chain_that_came_after() -> None:
    first, chain = log(), Chain("b" * 32)
    of = Chain("a" * 32)
    of.length = len(first)
    second = [start(chain, *first, of=of), request(chain)]
    assert check(first, second).findings == []
    report = check(first[:9], second)
    assert "reached record 14 before this one began: its tail was cut off" in texts(report)
    report = check(rewritten(first, 12, lambda line: line.replace(b"Decrypt", b"Encrypt")), second)
    assert "record 14 is not the one that was its last" in texts(report)
    assert any("was not given" in note for note in check(second).notes)


def test_a_rewritten_chain_is_found_by_the_token_alone() -> None:
    forged_lines = rewritten(log(), 3, lambda line: line.replace(b"Decrypt", b"Encrypt"))
    without_token = verify([("file0", forged_lines)])
    assert "anchor holds another hash of record 5" in texts(without_token), "the anchors were not rewritten"

    def rewrite_anchor(lines: Lines, position: int) -> Lines:
        new = line_hash(lines[position - 1][:-1]).encode()
        head, _, tail = lines[position].partition(b'"anchoredHash":"')
        return rewritten(lines, position, lambda _: head + b'"anchoredHash":"' + new + tail[64:])

    forged_lines = rewrite_anchor(rewrite_anchor(forged_lines, ANCHORED), LAST_ANCHOR)
    assert verify([("file0", forged_lines)]).findings == []
    report = check(forged_lines)
    assert "file0:7: record 6: the token did not make" in texts(report)
    assert "file0:12: record 11: the token did not make" in texts(report)
    assert any("no anchor covers records 0 to 14" in note for note in report.notes)


def test_what_was_rewritten_after_the_last_anchor_cannot_be_seen() -> None:
    report = check(rewritten(log(), 13, lambda line: line.replace(b"Decrypt", b"Encrypt")))
    assert report.findings == []
    assert any("no anchor covers records 11 to 14" in note for note in report.notes)


def test_a_writer_that_was_killed_leaves_an_incomplete_line() -> None:
    lines = log()
    report = check([*lines[:-1], lines[-1][:50]])
    assert report.findings == []
    assert any("file0:15: the last line is incomplete" in note for note in report.notes)
    report = check([*lines[:5], lines[5][:50]], lines[6:])
    assert "file0:6: the line is incomplete" in texts(report)


def test_archived_files_may_be_left_out_on_request() -> None:
    assert check(log()[6:], partial=True).findings == []
    assert check(log()[6:]).findings != []


def test_no_records_at_all() -> None:
    assert check([]).notes == ["file0: there is no record in it"]

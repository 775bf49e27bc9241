"""Whether an audit log is whole: every record of every chain there, unchanged, once, in its place.

What it finds: a record that was changed, removed, moved, repeated or inserted; one appended after a chain's end, or without the
right hash; a tail that was cut off before a record that an anchor or a later chain names. What it cannot see without the token: a
chain that was rewritten as a whole, hashes included; `Report.anchors` is what the token has to confirm. What nobody can see: what
was done to the records after the last anchor, by somebody who computed the hashes anew. Pure: lines in, a report out.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hsmkms.core.audit import NO_HASH, RecordType, anchor_digest, line_hash

_HASH_DIGITS: Final = 64
_UNKNOWN: Final = -1
"""Sequence number of a line that cannot be trusted to say its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Args:
        file: The file's name.
        line: The line, from 1 on.
        sequence: The record's sequence number, or None where it is not known.
        text: What is wrong.
    """

    file: str
    line: int
    sequence: int | None
    text: str

    def __str__(self) -> str:
        which = "" if self.sequence is None else f"record {self.sequence}: "
        return f"{self.file}:{self.line}: {which}{self.text}"


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor that only the token can confirm.

    Args:
        file: Its file.
        line: Its line.
        sequence: Its own sequence number.
        chain_id: Its chain.
        covers: The record up to which it anchors the chain.
        digest: What the MAC is made over.
        mac: The MAC it holds.
    """

    file: str
    line: int
    sequence: int
    chain_id: str
    covers: int
    digest: bytes
    mac: bytes


@dataclass(slots=True)
class Report:
    """What was found.

    Args:
        findings: What is wrong; empty for a log that is whole.
        notes: What is worth knowing and no fault.
        records: How many records were read.
        last_records: The last sequence number of each chain.
        deployments: The deployments whose chains these are.
        anchors: The anchors, for `confirm`.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: int = 0
    last_records: dict[str, int] = field(default_factory=dict)
    deployments: set[str] = field(default_factory=set)
    anchors: list[Anchor] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    file: str
    line: int
    sequence: int
    previous: str
    own: str
    kind: str
    chain_id: str
    blamed: bool = False


@dataclass(slots=True)
class _Chain:
    """What was read of one chain, file by file."""

    files: list[list[_Entry]] = field(default_factory=list)
    links: list[tuple[_Entry, Mapping[str, Any]]] = field(default_factory=list)
    anchors: list[tuple[_Entry, Mapping[str, Any]]] = field(default_factory=list)
    torn: list[Finding] = field(default_factory=list)


def verify(files: Iterable[tuple[str, Iterable[bytes]]], *, partial: bool = False) -> Report:
    """Check the files of an audit log.

    Args:
        files: Names and lines, ends of line included, in any order.
        partial: Whether a chain's first files may be missing.

    Returns:
        What was found.
    """
    report = Report()
    chains: dict[str, _Chain] = {}
    for name, lines in files:
        _read(name, lines, chains, report)
    hashes: dict[str, dict[int, str]] = {}
    for chain_id, chain in chains.items():
        entries = _in_order(chain, report)
        hashes[chain_id] = {entry.sequence: entry.own for entry in entries if entry.sequence != _UNKNOWN}
        _walk(entries, report, partial=partial)
        report.last_records[chain_id] = max((entry.sequence for entry in entries), default=-1)
    for chain_id, chain in chains.items():
        _check_links(chain, hashes, report)
        _check_anchors(chain_id, chain, hashes[chain_id], report)
    report.findings.sort(key=lambda finding: (finding.file, finding.line))
    return report


def confirm(report: Report, macs: Mapping[bytes, bytes]) -> None:
    """Compare the anchors with what the token says, and note how far each chain is covered.

    Args:
        report: What `verify` returned; it is added to.
        macs: The token's MAC over each anchor's digest.
    """
    covered = dict.fromkeys(report.last_records, -1)
    for anchor in report.anchors:
        if macs.get(anchor.digest) == anchor.mac:
            covered[anchor.chain_id] = max(covered[anchor.chain_id], anchor.covers)
        else:
            text = "the token did not make this anchor's MAC: the chain before it was rewritten, or the anchor forged"
            report.findings.append(Finding(anchor.file, anchor.line, anchor.sequence, text))
    for chain_id, last in report.last_records.items():
        first = covered[chain_id] + 1
        if first <= last:
            report.notes.append(f"chain {chain_id}: no anchor covers records {first} to {last}")


def _read(name: str, lines: Iterable[bytes], chains: dict[str, _Chain], report: Report) -> None:
    entries: list[_Entry] = []
    documents: list[tuple[_Entry, Mapping[str, Any]]] = []
    torn: list[Finding] = []
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix(b"\n")
        document = _parse(line)
        if document is None and line == raw:  # no end of line: somebody was still writing it
            torn.append(Finding(name, number, None, "the line is incomplete: it was changed"))
            continue
        if document is None:
            entry = _Entry(name, number, _UNKNOWN, "", line_hash(line), "", "")
            _blame(entry, "this line is no record: it was changed or inserted", report)
        else:
            own, previous = line_hash(line), document["previousHash"]
            entry = _Entry(
                name, number, document["sequence"], previous, own, document["recordType"], document["chainId"]
            )
            if entry.kind in (RecordType.ANCHOR, RecordType.START):
                documents.append((entry, document))
        entries.append(entry)
    report.records += len(entries)
    ids = Counter(entry.chain_id for entry in entries if entry.sequence != _UNKNOWN)
    if not ids:
        report.notes.append(f"{name}: there is no record in it")
        return
    chain_id = ids.most_common(1)[0][0]
    for entry in entries:
        if entry.sequence != _UNKNOWN and entry.chain_id != chain_id:
            _blame(entry, "it does not say that it belongs to this chain: it was changed or inserted", report)
            entry.sequence = _UNKNOWN
    chain = chains.setdefault(chain_id, _Chain())
    chain.files.append(entries)
    chain.torn += torn
    for entry, members in documents:
        if entry.sequence != _UNKNOWN:
            (chain.anchors if entry.kind == RecordType.ANCHOR else chain.links).append((entry, members))
            if entry.kind == RecordType.START:
                report.deployments.add(str(members.get("deploymentId")))


def _blame(entry: _Entry, text: str, report: Report) -> None:
    """Report a record once, however many of its neighbours it does not fit."""
    if not entry.blamed:
        entry.blamed = True
        sequence = None if entry.sequence == _UNKNOWN else entry.sequence
        report.findings.append(Finding(entry.file, entry.line, sequence, text))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record that a line holds, or None."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    sequence, previous = document.get("sequence"), document.get("previousHash")
    is_record = (
        isinstance(document.get("chainId"), str)
        and isinstance(document.get("recordType"), str)
        and type(sequence) is int
        and sequence >= 0
        and isinstance(previous, str)
        and len(previous) == _HASH_DIGITS
    )
    return document if is_record else None


def _in_order(chain: _Chain, report: Report) -> list[_Entry]:
    """Return a chain's records, its files put into order; an incomplete last line is worth a note, one in the middle is a fault."""
    chain.files.sort(key=lambda entries: min(entry.sequence for entry in entries if entry.sequence != _UNKNOWN))
    for torn in chain.torn:
        if torn.file == chain.files[-1][-1].file:
            report.notes.append(f"{torn.file}:{torn.line}: the last line is incomplete: its writer was killed")
        else:
            report.findings.append(torn)
    return [entry for entries in chain.files for entry in entries]


class _Walker:
    """Goes along a chain's records; knows which number comes next and which hash it must hold."""

    def __init__(self, entries: list[_Entry], report: Report) -> None:
        self.entries = entries
        self.report = report
        self.numbers = sorted({entry.sequence for entry in entries if entry.sequence != _UNKNOWN})
        self.displaced: dict[int, _Entry] = {}
        self.expected = self.numbers[0]
        self.last: _Entry | None = None
        self.ended = False

    def step(self, position: int) -> None:
        """Judge the record at that position."""
        entry = self.entries[position]
        while self.expected in self.displaced:
            self._take(self.displaced.pop(self.expected), None)
        following = self.entries[position + 1] if position + 1 < len(self.entries) else None
        if entry.sequence == _UNKNOWN:
            if following is None or following.sequence != self.expected:  # else it was inserted, and counts for none
                self.last, self.expected = entry, self.expected + 1
            return
        if entry.sequence == self.expected:
            self._take(entry, following)
        elif self.last is not None and entry.previous == self.last.own:
            _blame(entry, f"it stands where record {self.expected} belongs: its number was changed", self.report)
            self.last, self.expected = entry, self.expected + 1
        elif entry.sequence < self.expected:
            text = "it stands here a second time, or out of its place: it was inserted, appended or moved"
            _blame(entry, text, self.report)
        elif self.numbers[bisect_left(self.numbers, self.expected)] < entry.sequence:
            text = f"it stands where record {self.expected} belongs: records were reordered"
            _blame(entry, text, self.report)
            self.displaced[entry.sequence] = entry
        else:
            count = entry.sequence - self.expected
            gone = (
                f"record {self.expected} was" if count == 1 else f"records {self.expected} to {entry.sequence - 1} were"
            )
            _blame(entry, f"{gone} removed before it", self.report)
            self.last, self.expected = entry, entry.sequence + 1
        self._watch_end(entry, position)

    def _take(self, entry: _Entry, following: _Entry | None) -> None:
        """Accept a record as the next one, and see whether its hash of the one before is right."""
        if self.last is not None and entry.previous != self.last.own:
            if following is None:
                if not self.last.blamed:
                    text = "it does not fit the record before it: one of the two was changed, or it was appended"
                    _blame(entry, text, self.report)
            elif following.previous == entry.own:
                _blame(self.last, "it was changed: the record after it holds another hash of it", self.report)
            elif not self.last.blamed:
                text = "it was changed: neither the record before it nor the one after it fits it"
                _blame(entry, text, self.report)
        self.last, self.expected = entry, entry.sequence + 1

    def _watch_end(self, entry: _Entry, position: int) -> None:
        if self.ended:
            is_last_anchor = entry.kind == RecordType.ANCHOR and self.entries[position - 1].kind == RecordType.END
            if not is_last_anchor:
                _blame(entry, "it was appended: the chain had ended before it", self.report)
        elif entry.kind == RecordType.END:
            self.ended = True


def _walk(entries: list[_Entry], report: Report, *, partial: bool) -> None:
    walker = _Walker(entries, report)
    first, lowest = entries[0], walker.numbers[0]
    if lowest and partial:
        report.notes.append(
            f"{first.file}: the chain begins in an earlier file: records 0 to {lowest - 1} were not read"
        )
    elif lowest and first.sequence == _UNKNOWN:
        walker.expected = 0
    elif lowest:
        _blame(first, f"records 0 to {lowest - 1} were removed before it, or their files were not given", report)
    if first.sequence == 0 and (first.previous != NO_HASH or first.kind != RecordType.START):
        _blame(first, "it was changed: it is no beginning of a chain", report)
    for position in range(len(entries)):
        walker.step(position)
    if not walker.ended:
        report.notes.append(
            f"{entries[-1].file}: the chain has no end: the service runs, was killed, or the chain's tail was cut off"
        )


def _check_links(chain: _Chain, hashes: Mapping[str, Mapping[int, str]], report: Report) -> None:
    """See whether the chains that a chain's first record names reach as far as they did then."""
    for entry, document in chain.links:
        for link in _documents(document.get("previousChains")):
            other = hashes.get(str(link.get("chainId")))
            sequence = link.get("sequence")
            if other is None:
                report.notes.append(
                    f"{entry.file}: chain {link.get('chainId')}, which was before this one, was not given"
                )
            elif not isinstance(sequence, int) or sequence not in other:
                text = (
                    f"chain {link.get('chainId')} reached record {sequence} before this one began: its tail was cut off"
                )
                report.findings.append(Finding(entry.file, entry.line, entry.sequence, text))
            elif other[sequence] != link.get("hash"):
                text = (
                    f"chain {link.get('chainId')}: record {sequence} is not the one that was its last when this began"
                )
                report.findings.append(Finding(entry.file, entry.line, entry.sequence, text))


def _check_anchors(chain_id: str, chain: _Chain, hashes: Mapping[int, str], report: Report) -> None:
    lowest = min(hashes, default=0)
    for entry, document in chain.anchors:
        covers, anchored, mac = (document.get(name) for name in ("anchoredSequence", "anchoredHash", "mac"))
        if not (isinstance(covers, int) and isinstance(anchored, str) and isinstance(mac, str)):
            report.findings.append(Finding(entry.file, entry.line, entry.sequence, "the anchor was changed"))
            continue
        if covers >= lowest and hashes.get(covers) != anchored:
            text = f"the anchor holds another hash of record {covers}: one of the two was changed"
            report.findings.append(Finding(entry.file, entry.line, entry.sequence, text))
        try:
            made = bytes.fromhex(mac)
        except ValueError:
            made = b""
        digest = anchor_digest(chain_id, covers, anchored)
        report.anchors.append(Anchor(entry.file, entry.line, entry.sequence, chain_id, covers, digest, made))


def _documents(value: Any) -> list[Mapping[str, Any]]:
    return [link for link in value if isinstance(link, dict)] if isinstance(value, list) else []

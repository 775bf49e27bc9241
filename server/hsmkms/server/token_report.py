"""What a token can do, for an operator to read: the probe's findings, and which features of the KMS they give. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from hsmkms.core.directions import directions
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import PairSpec
from hsmkms.core.model import (
    DataKeyPairSpec,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    MacAlgorithm,
    SigningAlgorithm,
    WrappingAlgorithm,
)

_IMPORTABLE: Final = (KeySpec.SYMMETRIC_DEFAULT, *(KeySpec[pair.name] for pair in PairSpec))
_WIDTH: Final = 110
_INDENT: Final = 26


def _lists(features: TokenFeatures) -> tuple[tuple[str, str, Iterable[str], frozenset[Any]], ...]:
    """Return, for each kind of feature: its name in JSON, its name for people, every value, and those that the token gives."""
    return (
        ("key_specs", "CreateKey", KeySpec, features.key_specs),
        ("imported_specs", "ImportKeyMaterial", _IMPORTABLE, features.imported_specs),
        ("wrapping_algorithms", "  wrapped by", WrappingAlgorithm, features.wrapping_algorithms),
        ("key_pair_specs", "GenerateDataKeyPair", DataKeyPairSpec, features.key_pair_specs),
        ("encryption_algorithms", "Encrypt, Decrypt", EncryptionAlgorithm, features.encryption_algorithms),
        ("signing_algorithms", "Sign, Verify", SigningAlgorithm, features.signing_algorithms),
        ("mac_algorithms", "GenerateMac, VerifyMac", MacAlgorithm, features.mac_algorithms),
        ("key_agreement_algorithms", "DeriveSharedSecret", KeyAgreementAlgorithm, features.key_agreement_algorithms),
    )


def as_document(features: TokenFeatures) -> dict[str, Any]:
    """Return the features as JSON has them."""
    return {
        "suites": sorted(int(suite) for suite in features.suites),
        **{name: [str(one) for one in every if one in has] for name, _, every, has in _lists(features)},
        "re_encrypt": [asdict(direction) for direction in directions(features)],
        "missing": [
            {"for": kind.strip(), "names": names, "needs": why} for (kind, why), names in _missing(features).items()
        ],
    }


def as_text(facts: Sequence[tuple[str, str]], findings: Sequence[tuple[str, str, str]], features: TokenFeatures) -> str:
    """Return the report as text.

    Args:
        facts: What the token is: names and values.
        findings: The probe's: name, what was found, what it gives.
        features: What the KMS can do with it.
    """
    widths = [max(len(row[column]) for row in findings) for column in (0, 1)]
    wide = min(widths[1], 12)
    lines = [f"{name:<14} {value}" for name, value in facts]
    lines += ["", "What the token can do (tried with session objects, compared with software)", ""]
    for name, found, purpose in findings:
        if len(found) > wide:
            lines += [f"{name:<{widths[0]}}  {'':<{wide}}  {purpose}:", *_wrapped(found, widths[0] + wide + 6)]
        else:
            lines.append(f"{name:<{widths[0]}}  {found:<{wide}}  {purpose}")
    lines += ["", "Which features of the KMS that gives", ""]
    suites = (
        ", ".join(str(int(suite)) for suite in sorted(features.suites))
        or "none: the service does not start on this token"
    )
    lines += _entry("suites", suites)
    for _, name, every, has in _lists(features):
        lines += _entry(name, ", ".join(str(one) for one in every if one in has) or "nothing")
    for direction in directions(features):
        lines += _entry(f"ReEncrypt {direction.source[:3]} -> {direction.destination[:3]}", direction.payloads)
    lines += ["", "What is missing, and why", ""]
    for (kind, why), names in _missing(features).items():
        lines += _entry(kind, f"{', '.join(names)}: needs {why}")
    return "\n".join(lines) + "\n"


def _missing(features: TokenFeatures) -> dict[tuple[str, str], list[str]]:
    """Return what the token gives no way to, by operation and reason."""
    missing: dict[tuple[str, str], list[str]] = {}
    for _, kind, every, has in _lists(features):
        for one in every:
            if one not in has:
                why = features.needs.get(str(one), "a mechanism that this version does not drive")
                missing.setdefault((kind, why), []).append(str(one))
    return missing


def _entry(name: str, text: str) -> list[str]:
    first, *rest = _wrapped(text, _INDENT) or [""]
    return [f"{name:<{_INDENT - 1}} {first.strip()}", *rest]


def _wrapped(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_long_words=False)

"""The dry run: counts by key and material, without a change anywhere.

Which material a version of a key is, no list of the service says. So one ciphertext of each version is re-encrypted for real and its
answer thrown away: that tells the source's and the destination's material ids, and whether the move would be permitted and the
encryption context is the right one. It needs no other permission than the move itself.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hsmkms.client.errors import KmsError
from hsmkms.reencryption.plan import Plan
from hsmkms.reencryption.progress import Display
from hsmkms.reencryption.rows import Key, Material, Row, Rows, material_of
from hsmkms.reencryption.runner import UNKNOWN, RowUnreadable, request_for
from hsmkms.reencryption.service import Sender
from hsmkms.reencryption.templates import TemplateProblem

PAGE_ROWS: Final = 1000
MOST_TRIALS: Final = 3
"""How many rows of one material are tried until one can be moved: a single one may be damaged."""


@dataclass(slots=True)
class Survey:
    """What a dry run found.

    Args:
        rows: How many rows it read.
        empty: Rows without a ciphertext.
        unreadable: Rows whose ciphertext or context cannot be read, by the reason.
        materials: Rows by the material that they are under.
        trials: What came of one row of each material, in AWS's names.
    """

    rows: int = 0
    empty: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    materials: Counter[Material] = field(default_factory=Counter)
    trials: dict[Material, Mapping[str, Any]] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return it as it is printed."""
        materials = [
            {"KeyId": material.key_id, "Version": material.version, "Rows": count, **self.trials.get(material, {})}
            for material, count in sorted(self.materials.items(), key=lambda item: (item[0].key_id, item[0].version))
        ]
        unreadable = [{"Reason": reason, "Rows": count} for reason, count in self.unreadable.most_common()]
        return {
            "DryRun": True,
            "Rows": self.rows,
            "ToMove": sum(each["Rows"] for each in materials if each.get("Result") == "would be moved"),
            "Empty": self.empty,
            "Unreadable": unreadable,
            "Materials": materials,
        }


def survey(
    plan: Plan, store: Rows, sender: Sender, stop: threading.Event, display: Display, limit: int | None = None
) -> Survey:
    """Read all rows and count.

    Args:
        plan: What would be done.
        store: Where the rows are.
        sender: Sends the trials.
        stop: Set to end early: what was counted so far is returned.
        display: Shows how far it is.
        limit: How many rows to read at most; None for all.

    Raises:
        StoreProblem: the rows cannot be read.
        ServiceGone: the service cannot be used.
    """
    found = Survey()
    after: Key | None = None
    total = store.count(None)
    display.begin(0, total if total is None or limit is None else min(total, limit))
    while not stop.is_set():
        wanted = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - found.rows)
        rows = store.read(after, wanted) if wanted else []
        if not rows:
            break
        for row in rows:
            _count(plan, row, sender, found)
        after = rows[-1].key
        display.show(found.rows, f"{len(found.materials)} materials")
    return found


def _count(plan: Plan, row: Row, sender: Sender, found: Survey) -> None:
    found.rows += 1
    if row.problem:
        found.unreadable[f"the ciphertext {row.problem}"] += 1
        return
    if row.ciphertext is None:
        found.empty += 1
        return
    try:
        request = request_for(plan, row)
    except (TemplateProblem, RowUnreadable) as problem:
        found.unreadable[str(problem)] += 1
        return
    material = material_of(row.ciphertext) or UNKNOWN
    found.materials[material] += 1
    if found.materials[material] <= MOST_TRIALS and "KeyMaterialId" not in found.trials.get(material, {}):
        (answer,) = sender.send([request])
        found.trials[material] = _trial(plan, material, answer)


def _trial(plan: Plan, material: Material, answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, KmsError):
        return {"Result": f"would fail: {answer.code}: {answer.message}", "RequestId": answer.request_id}
    is_there = material_of(answer.ciphertext_blob) == material and not plan.includes_moved
    return {
        "KeyMaterialId": answer.source_key_material_id,
        "Result": "already there" if is_there else "would be moved",
        "DestinationKeyId": answer.key_id,
        "DestinationKeyMaterialId": answer.destination_key_material_id,
    }

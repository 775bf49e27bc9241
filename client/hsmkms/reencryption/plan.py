"""What is to be moved where. A run is resumed only with the plan that it was begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hsmkms.reencryption.templates import ContextTemplate


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Args:
        place: Where the ciphertexts are, as `describe` shows it: names and texts, no secret.
        source_key_id: The key that they must be under, or None for any.
        destination_key_id: The key to move them to; None for the newest material of the key that each is under.
        context: Their encryption context.
        destination_context: The encryption context of the results, if it is another one.
        again: Whether ciphertexts that are under the destination's newest material are made anew as well.
        grant_tokens: Grant tokens for every request; no part of what a journal compares.
    """

    place: Mapping[str, Any]
    source_key_id: str | None
    destination_key_id: str | None
    context: ContextTemplate
    destination_context: ContextTemplate | None
    again: bool
    grant_tokens: tuple[str, ...] = field(default=(), repr=False)

    @property
    def includes_moved(self) -> bool:
        """Whether a ciphertext under the destination's newest material is to be moved: its context may change."""
        return self.again or (self.destination_context is not None and self.destination_context != self.context)

    def describe(self) -> Mapping[str, str]:
        """Return the plan as texts by name, for the journal."""
        contexts = {
            "context template": self.context,
            "destination context template": self.destination_context,
        }
        return {
            **{name: str(value) for name, value in self.place.items()},
            "source key": self.source_key_id or "any",
            "destination key": self.destination_key_id or "each ciphertext's own",
            **{name: _text(template) for name, template in contexts.items()},
            "again": "yes" if self.again else "no",
        }


def _text(template: ContextTemplate | None) -> str:
    if template is None:
        return "the same"
    return json.dumps({key: [[p.text, p.is_column] for p in pieces] for key, pieces in sorted(template.pairs.items())})


def differences(now: Mapping[str, str], then: Mapping[str, str]) -> str:
    """Return in words in what two plans differ; an empty text where they do not."""
    names = [name for name in {**then, **now} if now.get(name) != then.get(name)]
    return "; ".join(f"{name}: begun with '{then.get(name, 'none')}', now '{now.get(name, 'none')}'" for name in names)

"""What holds for every test: hypothesis does not time examples, since the machine may be busy and timing is the benchmark's business."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

"""Tells one call that comes again from two calls that were signed alike.

A signature's time has no fractions of a second. Some SDKs (botocore, and so boto3 and the AWS CLI) sign nothing that tells two equal calls
of one second apart: two CreateKey without parameters have one signature, and so have the first and the third of DisableKey, EnableKey,
DisableKey. Taken as repetitions, the second key would not be made and the third call would do nothing. But these SDKs send an unsigned
`amz-sdk-invocation-id`, the same for every attempt of one call and another for each call. So a change that comes with a known signature
and another invocation id is refused, retryably: the SDK signs it anew a little later. Whoever replays a request gains nothing by another
id: the change is not made again in any case. The refusal says how long the second still lasts, by this clock.

What this front has not seen, or has forgotten, is left to the idempotency key: the first answer is given again. For one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hsmkms.core.errors import ThrottlingException
from hsmkms.server.aws.authenticator import Authenticated
from hsmkms.server.aws.sigv4 import MAX_SKEW

_SECOND_US: Final = 1_000_000
REMEMBERED_US: Final = int(2 * MAX_SKEW.total_seconds()) * _SECOND_US
"""A signature that was made 5 minutes ahead of this clock is good for ten."""
MAX_REMEMBERED: Final = 65_536
MAX_INVOCATION_ID: Final = 128
"""Longest invocation id that is told apart, in characters; AWS's SDKs send 36."""


@dataclass(frozen=True, slots=True)
class _Seen:
    invocation_id: str
    at_us: int


class Repetitions:
    """Remembers the calls of the last ten minutes that change something.

    Args:
        now_us: The time in microseconds since 1970, UTC.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def require_one_call(self, sender: Authenticated) -> None:
        """Do nothing if a change is new, or one that was seen and comes again. Call it before the change is made.

        Raises:
            ThrottlingException: it is another call than the one that was seen with this signature.
        """
        now_us = self._now_us()
        self._forget(now_us)
        invocation_id = (sender.invocation_id or "")[:MAX_INVOCATION_ID]
        seen = self._seen.setdefault(sender.idempotency_key, _Seen(invocation_id, now_us))
        if seen.invocation_id != invocation_id:
            error = ThrottlingException(
                "The same request was signed twice within one second. Sign it anew and try again."
            )
            error.retry_delay_s = (_SECOND_US - now_us % _SECOND_US) / _SECOND_US
            raise error

    def _forget(self, now_us: int) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            is_over = abs(now_us - self._seen[oldest].at_us) > REMEMBERED_US
            if not is_over and len(self._seen) < MAX_REMEMBERED:
                return
            del self._seen[oldest]

"""What a request touched, for its audit record: the operations write it, the edge reads it when the request is over."""

from __future__ import annotations


class Trail:
    """The KMS keys that a request resolved, in the order in which it did. Belongs to one request."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: list[str] = []
        """ARNs, each one once."""

    def touch(self, arn: str) -> None:
        """Note a key, unless it is noted already.

        Args:
            arn: The key's ARN.
        """
        if arn not in self.keys:
            self.keys.append(arn)

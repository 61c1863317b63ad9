"""A point in time that a call must not outlive."""

from __future__ import annotations

import math
import time

_TIMEOUT_US_MAX = 2**32 - 1


class Deadline:
    """A point on the monotonic clock, or never.

    A call makes one when it starts and hands it down: retries, waiting for a connection and
    reading the answer all draw on the same budget.
    """

    __slots__ = ("_at",)

    def __init__(self, timeout: float | None) -> None:
        """Starts the clock: ``timeout`` seconds from now, or no deadline for None."""
        if timeout is not None and (math.isnan(timeout) or timeout <= 0):
            raise ValueError(f"timeout: expected seconds above 0 or None, found {timeout!r}")
        self._at = math.inf if timeout is None else time.monotonic() + timeout

    @property
    def is_never(self) -> bool:
        """True if there is no deadline."""
        return self._at == math.inf

    def remaining(self) -> float | None:
        """Seconds left, never below 0; None without a deadline."""
        return None if self.is_never else max(0.0, self._at - time.monotonic())

    def within(self, seconds: float) -> Deadline:
        """The nearer of this deadline and ``seconds`` from now."""
        remaining = self.remaining()
        # A deadline that is over stays one: the call that is given it says so.
        return Deadline(max(1e-9, seconds if remaining is None else min(seconds, remaining)))

    def has_room_for(self, seconds: float) -> bool:
        """Whether the deadline is still ahead ``seconds`` from now."""
        return time.monotonic() + seconds < self._at

    def timeout_us(self) -> int:
        """What is left, as the protocol wants it: whole microseconds, 0 without a deadline.

        A budget under a microsecond is sent as 1, because 0 would mean no deadline at all.
        """
        if self.is_never:
            return 0
        return min(max(1, int((self._at - time.monotonic()) * 1e6)), _TIMEOUT_US_MAX)

"""When to ask again, and when to leave a server alone."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import random

from ._deadline import Deadline
from .errors import ConnectionLost, NeedletailError, Overloaded, Unavailable


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """What a client retries, how often, and how fast.

    Retried is what was certainly not executed (:class:`~needletail.Overloaded`,
    :class:`~needletail.Unavailable`, a connection refused or lost before the whole request was
    sent, calls above a GoAway's last id) and, with ``retry_lost``, calls whose connection broke
    while they waited for the answer. All calls of the protocol only read, so that asking twice
    changes nothing and ``retry_lost`` is on; turn it off if double work hurts more than an error.

    The n-th retry waits a random time between 0 and ``min(backoff_max, backoff * 2**n)`` ("full
    jitter"), on top of the server's ``retry_after`` if there is one. A retry that cannot happen
    before the call's deadline does not happen.

    Retries are also bounded over all calls of a client: every first attempt earns
    ``budget_ratio`` of a retry, and no more than ``budget_burst`` are ever saved up. When a server
    is in trouble the retries of all its clients therefore add a tenth to its load, not a multiple.
    """

    #: Attempts of one call, the first included. 1: never retry.
    attempts: int = 4
    #: Seconds: the upper end of the first wait.
    backoff: float = 0.01
    #: Seconds: the upper end of any wait.
    backoff_max: float = 1.0
    #: Whether a call may be repeated whose connection was lost after it was sent.
    retry_lost: bool = True
    #: Retries earned by each call.
    budget_ratio: float = 0.1
    #: Retries that may be saved up; a new client starts with this many.
    budget_burst: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts: expected at least 1, found {self.attempts}")
        if not 0 < self.backoff <= self.backoff_max:
            raise ValueError(
                f"backoff: expected seconds above 0 and at most backoff_max ({self.backoff_max}), found {self.backoff}"
            )
        if self.budget_ratio < 0 or self.budget_burst < 0:
            raise ValueError(
                f"retry budget: expected no negative numbers, found {self.budget_ratio} and {self.budget_burst}"
            )

    def is_retriable(self, error: NeedletailError) -> bool:
        """Whether a call that ended like this may be made again."""
        if isinstance(error, ConnectionLost):
            return self.retry_lost or not error.sent
        return isinstance(error, (Overloaded, Unavailable))


class RetryBudget:
    """A token bucket: calls pay in, retries draw. Any thread.

    It has no lock that an interrupted thread could leave held: every step below is one call into the interpreter's
    own code, and an exception between two of them loses a part of one retry at most.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._ratio = policy.budget_ratio
        tokens_max = math.floor(policy.budget_burst)
        # A bounded deque drops what is paid in beyond its bound.
        self._tokens: collections.deque[None] = collections.deque([None] * tokens_max, maxlen=tokens_max)
        self._calls = itertools.count()

    def deposit(self) -> None:
        """A call was begun."""
        before = next(self._calls)
        # Call n pays the whole tokens between n and n + 1 shares: no fraction has to be kept.
        for _ in range(math.floor((before + 1) * self._ratio) - math.floor(before * self._ratio)):
            self._tokens.append(None)

    def withdraw(self) -> bool:
        """Takes one retry, or says that there is none."""
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True


class Attempts:
    """The attempts of one call: tells after each failure whether and when to go on. No I/O."""

    def __init__(self, policy: RetryPolicy, budget: RetryBudget, deadline: Deadline) -> None:
        self._policy = policy
        self._budget = budget
        self._deadline = deadline
        self._failed = 0
        budget.deposit()

    def wait_after(self, error: NeedletailError) -> float | None:
        """Seconds to wait before the next attempt, or None: let the error out."""
        self._failed += 1
        if self._failed >= self._policy.attempts or not self._policy.is_retriable(error):
            return None
        ceiling = min(self._policy.backoff_max, self._policy.backoff * 2.0 ** (self._failed - 1))
        wait = (error.retry_after or 0.0) + random.uniform(0.0, ceiling)
        # The deadline first: a retry that cannot happen must not cost the budget.
        if not self._deadline.has_room_for(wait) or not self._budget.withdraw():
            return None
        return wait

"""A bound on calls at the same time that no exception, wherever it strikes, can wear down."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable
from typing import Callable

#: Seconds after which whoever waits looks again although nobody woke it. Wake-ups are for speed; that a slot is free
#: shows in the slots themselves, so that one wake-up lost to an exception costs this much and no more.
RECHECK_SECONDS = 0.05


class Token:
    """What holds a slot, or a place in the queue for one, for as long as it lives."""

    __slots__ = ("__weakref__", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], object] | None = None


class Holder:
    """What a call has at a time: its token, and what it uses. It lives in the frame of the call.

    Nobody else refers to the token, so that it dies with this object at the latest.
    """

    __slots__ = ("__weakref__", "token")

    def __init__(self) -> None:
        self.token: Token | None = None

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Has ``wake`` called when this holder may have got its slot. Look once more after this, and then wait."""
        if self.token is not None:
            self.token.wake = wake


class Slots:
    """Grants a bounded number of slots in the order of arrival. Any thread, any loop.

    There is no count that has to be set right at the end of a call. The tokens that live are the truth: the first
    ``slots_max`` of them hold a slot, further ones wait for their turn. A token leaves when its last reference goes,
    by a callback that is C code and hence cannot be interrupted. So a call that ends in any way, a
    ``KeyboardInterrupt`` within its ``finally`` included, gives back what it held.
    """

    def __init__(self, slots_max: int) -> None:
        self._slots_max = slots_max
        # In the order of arrival. Each reference removes itself when its token dies.
        self._tokens: dict[weakref.ref[Token], None] = {}

    def __len__(self) -> int:
        """Slots that are held, and tokens that wait for one."""
        return len(self._tokens)

    def enter(self, holder: Holder) -> None:
        """Queues a token of the holder."""
        # Neither the token nor its reference is in a local variable: tracebacks keep those alive for as long as
        # somebody keeps the exception.
        holder.token = Token()
        self._tokens[weakref.ref(holder.token, self._tokens.pop)] = None

    def has_slot(self, holder: Holder) -> bool:
        """Whether it is this holder's turn. Once true it stays so until ``leave``."""
        if holder.token is None:
            return False
        if len(self._tokens) <= self._slots_max:
            return True
        while True:
            try:
                return weakref.ref(holder.token) in list(itertools.islice(self._tokens, self._slots_max))
            except RuntimeError:  # Changed meanwhile, which an interpreter without a global lock allows.
                continue

    def leave(self, holder: Holder) -> None:
        """Gives the slot back and wakes whose turn it is now. May be called again."""
        holder.token = None
        if len(self._tokens) >= self._slots_max:
            self._wake(list(itertools.islice(self._tokens, self._slots_max - 1, self._slots_max)))

    def wake_all(self) -> None:
        """Lets everybody who waits look again."""
        self._wake(list(self._tokens))

    @staticmethod
    def _wake(references: Iterable[weakref.ref[Token]]) -> None:
        for reference in references:
            token = reference()
            if token is not None and token.wake is not None:
                token.wake()

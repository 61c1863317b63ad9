"""What the blocking client and the asyncio client have in common."""

from __future__ import annotations

import enum
import ssl
from typing import Any, Union

from ._calls import Call
from ._deadline import Deadline
from ._frames import check_frame_length
from ._settings import TLS, Settings
from .retry import Attempts, RetryBudget, RetryPolicy

DEFAULT_ADDRESS = "127.0.0.1:6470"


class Unset(enum.Enum):
    """Tells "not given" from None, which for ``timeout`` means no deadline."""

    UNSET = 0


UNSET = Unset.UNSET
Timeout = Union[float, None, Unset]


class BaseClient:
    """Settings, the budget of retries, and how a call begins."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None,
        connect_timeout: float,
        retries: RetryPolicy,
        max_frame_bytes: int,
        tls: bool | TLS | ssl.SSLContext,
        api_key: str | None,
    ) -> None:
        self._settings = Settings.check(
            address, timeout=timeout, connect_timeout=connect_timeout, frame_bytes_max=max_frame_bytes,
            retries=retries, tls=tls, api_key=api_key,
        )  # fmt: skip
        self._budget = RetryBudget(retries)

    def _begin(self, call: Call[Any], timeout: Timeout) -> tuple[Deadline, Attempts]:
        """The clock starts here, and what is too long to be sent is refused."""
        deadline = Deadline(self._settings.timeout if isinstance(timeout, Unset) else timeout)
        check_frame_length(len(call.body), self._settings.frame_bytes_max)
        return deadline, Attempts(self._settings.retries, self._budget, deadline)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._settings.address)!r})"

"""What the blocking client and the asyncio client have in common."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Iterable
from typing import Any, Union

from ._calls import Call
from ._deadline import Deadline
from ._frames import check_frame_length
from ._predict import Predict, Schemas, Steps
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
        max_rows: int,
    ) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows: expected at least 1, found {max_rows}")
        self._rows_max = max_rows
        self._schemas = Schemas()
        self._settings = Settings.check(
            address, timeout=timeout, connect_timeout=connect_timeout, frame_bytes_max=max_frame_bytes,
            retries=retries, tls=tls, api_key=api_key,
        )  # fmt: skip
        self._budget = RetryBudget(retries)

    def _deadline(self, timeout: Timeout) -> Deadline:
        """The clock of a call starts here."""
        return Deadline(self._settings.timeout if isinstance(timeout, Unset) else timeout)

    def _begin(self, call: Call[Any], deadline: Deadline) -> Attempts:
        """What is too long to be sent is refused."""
        check_frame_length(len(call.body), self._settings.frame_bytes_max)
        return Attempts(self._settings.retries, self._budget, deadline)

    def _steps(
        self, model: str, inputs: Any, version: int | None, label: str | None, outputs: Iterable[str],
        routing_key: str, key: str, traceparent: str,
    ) -> Steps:  # fmt: skip
        """The calls that a prediction takes."""
        return Predict(
            model, inputs, version=version, label=label, outputs=outputs, routing_key=routing_key, key=key,
            traceparent=traceparent, schemas=self._schemas, rows_max=self._rows_max,
            frame_bytes_max=self._settings.frame_bytes_max,
        ).steps()  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._settings.address)!r})"

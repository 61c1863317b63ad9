"""The blocking client."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

from . import _calls, _feedback
from ._base import DEFAULT_ADDRESS, UNSET, BaseClient, Timeout
from ._calls import Call
from ._connection import Connection
from ._deadline import Deadline
from ._feedback import FeedbackReport, Outcome
from ._frames import FRAME_BYTES_MAX_DEFAULT
from ._pool import ConnectionPool, Lease
from ._predict import ROWS_MAX_DEFAULT
from ._settings import TLS
from .errors import NeedletailError
from .results import Health, ModelDescription, ModelList, Prediction, ServerInfo
from .retry import RetryPolicy

T = TypeVar("T")


class Client(BaseClient):
    """A client for any number of threads, with a pool of connections.

    ::

        import needletail, numpy as np

        with needletail.Client("127.0.0.1:6470") as client:
            answer = client.predict("digits", np.zeros((2, 64), dtype=np.float32))
            answer.version             # 3
            answer.label               # array(['4', '4'])
            answer["probabilities"]    # float32, shape (2, 10)

    Nothing is connected before the first call. Connections that broke, or that the server wants
    to be rid of (GoAway), are dropped; the next call makes a new one. A forked child has its own
    connections.

    Args:
        address: ``"host:port"``, ``"[v6]:port"`` or ``"unix:/path"``.
        timeout: Seconds that a call may take, all its retries included, where the call itself
            says nothing; None: no deadline.
        max_connections: The bound of the pool, hence of calls at the same time; further calls
            wait for a connection until their deadline.
        connect_timeout: Seconds that making a connection may take.
        retries: What is retried, and how; see :class:`~needletail.RetryPolicy`.
        tls: True to encrypt and to trust the CAs of the system; a :class:`~needletail.TLS` that names
            a CA, or the client's own certificate; or an ``ssl.SSLContext``.
        api_key: Shown on every connection, for servers that ask for one.
        max_frame_bytes: The longest request sent and the longest answer accepted. Raise it
            together with the server's ``limits.frame_bytes_max``.
        max_rows: Rows of one call; more are several calls, all answered by one version. Where a
            server takes fewer (``limits.batch_rows_max``), it says so, and the calls become as short.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float | None = 5.0,
        max_connections: int = 8,
        connect_timeout: float = 1.0,
        retries: RetryPolicy = RetryPolicy(),
        max_frame_bytes: int = FRAME_BYTES_MAX_DEFAULT,
        tls: bool | TLS | ssl.SSLContext = False,
        api_key: str | None = None,
        max_rows: int = ROWS_MAX_DEFAULT,
    ) -> None:
        super().__init__(
            address, timeout=timeout, connect_timeout=connect_timeout, retries=retries,
            max_frame_bytes=max_frame_bytes, tls=tls, api_key=api_key, max_rows=max_rows,
        )  # fmt: skip
        if max_connections < 1:
            raise ValueError(f"max_connections: expected at least 1, found {max_connections}")
        self._pool = ConnectionPool(max_connections, self._connect)

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        outputs: Iterable[str] = (),
        routing_key: str = "",
        traceparent: str = "",
        key: str = "",
        timeout: Timeout = UNSET,
    ) -> Prediction:
        """Asks a model.

        Args:
            model: Its name.
            inputs: All features of all rows at once, as a 2-D array (or list of rows) of shape
                [rows, features] in the model's order; or columns by feature name, as a mapping to
                arrays, lists or single values, or as a pandas (or polars) data frame; or rows by
                feature name, as a list of mappings. None, NaN and what a mask hides stand for
                missing. A number or truth value for a categorical feature is the category of its
                text. Columns that the model does not know are left out with a warning
                (:class:`~needletail.ExtraColumns`). Many rows are several calls.
            version: Ask this version, instead of the one that is served.
            label: Ask the version with this label, such as ``"canary"``.
            outputs: Names of the outputs wanted; all of them if empty.
            routing_key: Calls with the same key see the same version of a split rollout.
            traceparent: The trace that the call belongs to, as W3C Trace Context writes it, for a server that exports
                spans: ``00-TRACE-SPAN-FLAGS``.
            key: Name of the call, by which :meth:`feedback` finds its rows later; the routing key, if there is none.
                Where the rows take several calls, it names the first one only.
            timeout: Seconds, or None for no deadline; the client's own setting if not given.

        Raises:
            NeedletailError: of the class that the status code has.

        Examples::

            client.predict("diabetes", rows, timeout=0.005).prediction
            client.predict("churn", {"age": [39, 52], "plan": ["basic", None]}, version=4)
            client.predict("churn", data_frame, outputs=["label"], label="canary")
        """
        steps = self._steps(model, inputs, version, label, outputs, routing_key, key, traceparent)
        try:
            call = next(steps)
            deadline = self._deadline(timeout)
            while True:
                try:
                    answer = self._call(call, deadline)
                except NeedletailError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            prediction: Prediction = end.value
            return prediction

    def feedback(self, model: str, outcomes: Iterable[Outcome], *, timeout: Timeout = UNSET) -> FeedbackReport:
        """Reports what became of predictions, so that the server can say how good a model is.

        Args:
            model: Its name.
            outcomes: The true class or number of rows of earlier calls, which had a ``key`` or a ``routing_key``. Many
                are several calls. What was counted is not counted again, so that a call may be repeated.
            timeout: Seconds for each call, or None for no deadline; the client's own setting if not given.

        Raises:
            NeedletailError: :class:`~needletail.Unimplemented` where the server remembers nothing of the model.

        Examples::

            client.predict("churn", rows, key="order-8812")
            client.feedback("churn", [Outcome("order-8812", "churned", row=0)])
        """
        report = FeedbackReport()
        for call in _feedback.calls(model, outcomes):
            report += self._run(call, timeout)
        return report

    def health(self, *, timeout: Timeout = UNSET) -> Health:
        """Whether the server lives and is ready, and the state of every model."""
        return self._run(_calls.health(), timeout)

    def models(self, *, timeout: Timeout = UNSET) -> ModelList:
        """The models with their versions, why a version was rejected, and stray files in the store."""
        return self._run(_calls.list_models(), timeout)

    def describe(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: Timeout = UNSET
    ) -> ModelDescription:
        """Inputs, outputs, labels, signer, lineage and training metrics of a model."""
        return self._run(_calls.describe_model(model, version=version, label=label), timeout)

    def metrics(self, *, timeout: Timeout = UNSET) -> str:
        """The server's metrics as Prometheus text."""
        return self._run(_calls.metrics(), timeout)

    def server_info(self, *, timeout: Timeout = UNSET) -> ServerInfo:
        """Version, features and limits of the server; :class:`~needletail.Unimplemented` from one without this call."""
        return self._run(_calls.server_info(), timeout)

    def close(self) -> None:
        """Closes the connections. Calls that are under way end as they would; later ones fail."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T], timeout: Timeout) -> T:
        return self._call(call, self._deadline(timeout))

    def _call(self, call: Call[T], deadline: Deadline) -> T:
        attempts = self._begin(call, deadline)
        lease = Lease()
        try:
            while True:
                try:
                    try:
                        response = self._pool.take(lease, deadline).call(call, deadline)
                    finally:
                        self._pool.give_back(lease)
                    return call.answer(response)
                except NeedletailError as error:
                    wait = attempts.wait_after(error)
                    if wait is None:
                        raise
                time.sleep(wait)
        finally:
            # Nothing is left to do here, unless an exception struck in the `finally` above.
            self._pool.give_back(lease)

    def _connect(self, deadline: Deadline) -> Connection:
        connection = Connection(self._settings, deadline)
        self._schemas.forget()
        return connection

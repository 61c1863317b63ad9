"""What is retried, when, and how often over all calls."""

from __future__ import annotations

import pytest
from needletail import (
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    NeedletailError,
    NotFound,
    Overloaded,
    PoolExhausted,
    ProtocolError,
    RetryPolicy,
    Unavailable,
)
from needletail._deadline import Deadline
from needletail.errors import StatusCode, error_for_status
from needletail.retry import Attempts, RetryBudget
from needletail.v1 import inference_pb2 as pb


def attempts(policy: RetryPolicy, timeout: float | None = None) -> Attempts:
    return Attempts(policy, RetryBudget(policy), Deadline(timeout))


@pytest.mark.parametrize(
    "error, expected",
    [
        (Overloaded("x"), True),
        (Unavailable("x"), True),
        (ConnectionFailed("x"), True),
        (ConnectionLost("x", sent=False), True),
        (InvalidArgument("x"), False),
        (NotFound("x"), False),
        (DeadlineExceeded("x"), False),
        (PoolExhausted("x"), False),
        (InternalError("x"), False),
        (ProtocolError("x"), False),
    ],
)
def test_only_what_is_safe_and_may_help_is_retried(error: NeedletailError, expected: bool) -> None:
    assert RetryPolicy().is_retriable(error) == expected


def test_a_call_lost_after_it_was_sent_is_retried_if_the_policy_says_so() -> None:
    lost = ConnectionLost("x", sent=True)
    assert RetryPolicy().is_retriable(lost)
    assert not RetryPolicy(retry_lost=False).is_retriable(lost)
    assert RetryPolicy(retry_lost=False).is_retriable(ConnectionLost("x", sent=False))


def test_waits_grow_exponentially_up_to_the_maximum_and_are_spread() -> None:
    policy = RetryPolicy(attempts=6, backoff=0.1, backoff_max=0.4, budget_burst=10_000)
    highest = [0.0] * 5
    lowest = [9.9] * 5
    budget = RetryBudget(policy)
    for _ in range(500):
        call = Attempts(policy, budget, Deadline(None))
        for index in range(5):
            wait = call.wait_after(Overloaded("x"))
            assert wait is not None
            highest[index] = max(highest[index], wait)
            lowest[index] = min(lowest[index], wait)
        assert call.wait_after(Overloaded("x")) is None
    for index, ceiling in enumerate([0.1, 0.2, 0.4, 0.4, 0.4]):
        assert 0.9 * ceiling < highest[index] <= ceiling
        assert lowest[index] < 0.1 * ceiling


def test_the_servers_retry_after_is_honoured() -> None:
    wait = attempts(RetryPolicy()).wait_after(Overloaded("x", retry_after=0.5))
    assert wait is not None and 0.5 <= wait <= 0.51


def test_no_retry_that_the_deadline_would_cut_off() -> None:
    assert attempts(RetryPolicy(), timeout=0.3).wait_after(Overloaded("x", retry_after=0.5)) is None


def test_one_attempt_means_no_retry() -> None:
    assert attempts(RetryPolicy(attempts=1)).wait_after(Overloaded("x")) is None


def test_retries_of_all_calls_together_stay_within_the_budget() -> None:
    policy = RetryPolicy(attempts=4, budget_ratio=0.1, budget_burst=10)
    budget = RetryBudget(policy)
    retries = 0
    for _ in range(1000):  # a server that refuses everything
        call = Attempts(policy, budget, Deadline(None))
        while call.wait_after(Overloaded("x")) is not None:
            retries += 1
    assert 100 <= retries <= 110


def test_a_retry_without_time_left_does_not_cost_the_budget() -> None:
    policy = RetryPolicy(budget_ratio=0, budget_burst=1)
    budget = RetryBudget(policy)
    for _ in range(5):
        assert Attempts(policy, budget, Deadline(0.1)).wait_after(Overloaded("x", retry_after=1)) is None
    assert Attempts(policy, budget, Deadline(None)).wait_after(Overloaded("x")) is not None


@pytest.mark.parametrize(
    "settings", [{"attempts": 0}, {"backoff": 0}, {"backoff": 2, "backoff_max": 1}, {"budget_ratio": -1}]
)
def test_policies_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RetryPolicy(**settings)  # type: ignore[arg-type]


def test_every_status_code_of_the_protocol_has_its_error_class() -> None:
    assert {code.name: int(code) for code in StatusCode} == dict(pb.StatusCode.items())
    classes = set()
    for code in list(StatusCode)[1:]:
        error = error_for_status(code, "m", 1500)
        assert (error.code, error.message, error.retry_after) == (code, "m", 0.0015)
        assert str(error) == f"{code.name}: m"
        classes.add(type(error))
    assert len(classes) == len(StatusCode) - 1
    assert error_for_status(1, "m").retry_after is None


def test_a_status_code_of_a_newer_server_is_an_internal_error() -> None:
    error = error_for_status(77, "something new")
    assert isinstance(error, InternalError)
    assert "77" in error.message and "something new" in error.message


def test_errors_are_also_what_python_programs_expect() -> None:
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(ConnectionFailed, ConnectionError)
    assert issubclass(InvalidArgument, ValueError)
    assert issubclass(NotFound, LookupError)


def test_a_deadline_is_sent_as_what_is_left_of_it() -> None:
    assert Deadline(None).timeout_us() == 0
    assert 900_000 < Deadline(1.0).timeout_us() <= 1_000_000
    assert Deadline(1e-9).timeout_us() == 1  # never 0, which would mean none
    assert Deadline(1e9).timeout_us() == 2**32 - 1
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            Deadline(timeout)

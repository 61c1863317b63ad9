"""Outcomes of predictions: what a caller reports, and what came of it."""

from __future__ import annotations

import dataclasses
import itertools
import numbers
from collections.abc import Iterable, Iterator

from . import _calls
from ._calls import Call
from .errors import InvalidArgument, ProtocolError
from .v1 import inference_pb2 as pb

#: Outcomes that a server takes in one call.
OUTCOMES_MAX = 1024


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one row of a call."""

    #: The ``key`` of the predict call, or its ``routing_key``.
    key: str
    #: The true class as text, or the true number.
    truth: str | float
    #: The row of the call, from 0.
    row: int = 0


@dataclasses.dataclass(frozen=True)
class OutcomeProblem:
    """An outcome that was not joined with a prediction."""

    #: Place among the outcomes, from 0, and always one of them.
    index: int
    #: unknown, late, duplicate, contradictory, value, class or row.
    result: str
    message: str


@dataclasses.dataclass(frozen=True)
class FeedbackReport:
    """The answer to ``feedback``; every outcome is counted once."""

    joined: int = 0
    #: No prediction of that name is remembered.
    unknown: int = 0
    #: Reported after the window.
    late: int = 0
    #: The same outcome was reported before.
    duplicate: int = 0
    #: Another outcome was reported before, which stands.
    contradictory: int = 0
    #: A class or a row that does not exist, or a value of the wrong kind.
    invalid: int = 0
    #: The first ones of each call that were not joined.
    problems: tuple[OutcomeProblem, ...] = ()

    def __add__(self, other: FeedbackReport) -> FeedbackReport:
        counts = [field.name for field in dataclasses.fields(self) if field.name != "problems"]
        return FeedbackReport(
            **{name: getattr(self, name) + getattr(other, name) for name in counts},
            problems=self.problems + other.problems,
        )


def calls(model: str, outcomes: Iterable[Outcome]) -> Iterator[Call[FeedbackReport]]:
    """The calls that report outcomes."""
    numbered = enumerate(outcomes)
    while part := list(itertools.islice(numbered, OUTCOMES_MAX)):
        yield _call(model, [outcome for _, outcome in part], first=part[0][0])


def _call(model: str, outcomes: list[Outcome], first: int) -> Call[FeedbackReport]:
    request = pb.FeedbackRequest(
        model=model, outcomes=[_message(outcome, first + index) for index, outcome in enumerate(outcomes)]
    )

    def read(response: pb.Response) -> FeedbackReport:
        answer = response.feedback
        for problem in answer.problems:
            if problem.index >= len(outcomes):
                raise ProtocolError(f"problems: expected one of {len(outcomes)} outcomes, found number {problem.index}")
        return FeedbackReport(
            answer.joined, answer.unknown, answer.late, answer.duplicate, answer.contradictory, answer.invalid,
            tuple(
                OutcomeProblem(
                    first + problem.index,
                    problem.result,
                    problem.message.replace(f"outcomes[{problem.index}]", f"outcomes[{first + problem.index}]", 1),
                )
                for problem in answer.problems
            ),
        )  # fmt: skip

    return _calls.Call("feedback", pb.Request(feedback=request).SerializeToString(), read)


def _message(outcome: Outcome, index: int) -> pb.Outcome:
    if not 0 <= outcome.row < 2**32:
        raise InvalidArgument(f"outcomes[{index}]: row: expected a number from 0 to 2**32 - 1, found {outcome.row}")
    message = pb.Outcome(key=outcome.key, row=outcome.row)
    if isinstance(outcome.truth, str):
        message.label = outcome.truth
    elif isinstance(outcome.truth, numbers.Real):
        message.value = float(outcome.truth)
    else:
        found = type(outcome.truth).__name__
        raise InvalidArgument(f"outcomes[{index}]: truth: expected text or a number, found {found}")
    return message

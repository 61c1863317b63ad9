"""How a prediction is asked for: which calls it takes, of which form, in which order. No I/O."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Generator, Iterable
from typing import Any

import numpy as np

from . import _calls
from ._calls import Call
from ._inputs import Schema, Table
from .errors import InvalidArgument, NotFound, PermissionDenied, Unavailable, Unimplemented
from .results import Array, Prediction, Timing
from .v1 import inference_pb2 as pb

#: Rows of one call: what a server accepts unless it is configured otherwise. More rows are several calls.
ROWS_MAX_DEFAULT = 4096
#: Versions that may answer one prediction in turn before it gives up: a new one can go live between any two calls.
_TURNS_MAX = 5
_SCHEMAS_MAX = 1024

#: Gives calls and takes their answers; an error of a call is raised where it was given.
Steps = Generator[Call[Any], Any, Prediction]


class ExtraColumns(UserWarning):
    """Columns that the model does not know were left out, as the command line client does."""


class Schemas:
    """What a client knows of the inputs of models. Forgotten when a connection is made: its server may be another.

    Any thread: each step is one operation on a dictionary.
    """

    def __init__(self) -> None:
        self._by_version: dict[tuple[str, int], Schema] = {}
        # By what was asked for: the version that answered last.
        self._latest: dict[tuple[str, int | None, str | None], Schema] = {}
        #: Models that this client may not describe.
        self.hidden: set[str] = set()

    def forget(self) -> None:
        self._by_version, self._latest, self.hidden = {}, {}, set()

    def of_version(self, model: str, version: int) -> Schema | None:
        return self._by_version.get((model, version))

    def latest(self, model: str, version: int | None, label: str | None) -> Schema | None:
        return self._latest.get((model, version, label))

    def learn(self, model: str, version: int | None, label: str | None, schema: Schema) -> None:
        if len(self._by_version) + len(self._latest) > _SCHEMAS_MAX:
            self.forget()
        self._by_version[model, schema.version] = schema
        self._latest[model, version, label] = schema


class Predict:
    """One ``predict`` of a client."""

    def __init__(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None,
        label: str | None,
        outputs: Iterable[str],
        routing_key: str,
        traceparent: str,
        key: str,
        schemas: Schemas,
        rows_max: int,
        frame_bytes_max: int,
    ) -> None:
        if isinstance(outputs, str):
            raise InvalidArgument(f"outputs: expected a list of names, found the text {outputs!r}")
        self._model = model
        self._version = version
        self._label = label
        self._outputs = list(outputs)
        self._routing_key = routing_key
        self._traceparent = traceparent
        self._key = key
        # Whether the next call carries the names that outcomes may be reported under.
        self._has_name = True
        self._schemas = schemas
        self._rows_max = rows_max
        self._frame_bytes_max = frame_bytes_max
        # What makes no sense is said at once, and not after a first call.
        _calls.check_selector(version, label)
        self._table = Table.read(inputs)

    def steps(self) -> Steps:
        """The calls; the prediction is what it returns."""
        for _ in range(_TURNS_MAX):
            answers: list[Prediction] = []
            try:
                yield from self._ask(self._table, self._version, self._label, answers)
            except NotFound:
                # Rows of one prediction are all answered by one version. It was retired meanwhile.
                if not answers or self._version is not None:
                    raise
                continue
            return answers[0] if len(answers) == 1 else joined(answers)
        raise Unavailable(f"model {self._model!r}: expected one version to answer, found new ones all the time")

    def _ask(
        self, table: Table, version: int | None, label: str | None, answers: list[Prediction]
    ) -> Generator[Call[Any], Any, None]:
        """Asks for all rows of the table, in as many calls as it takes."""
        start, rows = 0, min(len(table), self._rows_max)
        while start < len(table):
            part = table[start : start + rows] if rows < len(table) else table
            # Only the first call has a name: rows of outcomes are counted from its first row.
            self._has_name = not answers
            # All rows are answered by the version that answered the first.
            wanted, named = (answers[0].version, None) if answers else (version, label)
            answer = yield from self._ask_once(part, wanted, named)
            if answer is None:  # too many rows for the server, or too long for a frame
                rows = self._rows_max if self._rows_max < rows else (rows + 1) // 2
                continue
            answers.append(answer)
            start += len(part)

    def _ask_once(
        self, part: Table, version: int | None, label: str | None
    ) -> Generator[Call[Any], Any, Prediction | None]:
        schema = self._schemas.latest(self._model, version, label)
        if schema is None and version is not None:
            schema = self._schemas.of_version(self._model, version)
        is_fresh = part.is_fixed
        if schema is None and part.depends_on_model:
            schema, is_fresh = (yield from self._describe(version, label)), True
        for _ in range(_TURNS_MAX):
            call = self._call(self._tensors(part, schema), version, label)
            if len(call.body) > self._frame_bytes_max and len(part) > 1:
                return None
            try:
                answer: Prediction = yield call
            except InvalidArgument as error:
                if self._learn_rows_max(error, len(part)):
                    return None
                # Perhaps the inputs only have another form than the model wants: numbers where it has categories,
                # columns that it does not know.
                if is_fresh:
                    raise
                described = yield from self._describe(version, label)
                if described is None or self._call(part.tensors(described), version, label).body == call.body:
                    raise
                schema, is_fresh = described, True
                continue
            fits, schema = yield from self._fits(part, schema, answer)
            if fits:
                if schema is not None and not part.is_positional and not part.is_fixed:
                    warn_of_extra_columns(self._model, part, schema)
                return answer
        raise Unavailable(f"model {self._model!r}: expected inputs of one form, found other ones in each version")

    def _learn_rows_max(self, error: InvalidArgument, rows: int) -> bool:
        """Whether a server refused a call for its number of rows, and takes fewer."""
        limit = error.detail.limit if error.detail else None
        if limit is None or limit.name != "rows_max" or not 0 < limit.maximum < rows:
            return False
        self._rows_max = limit.maximum
        return True

    def _fits(
        self, part: Table, asked: Schema | None, answer: Prediction
    ) -> Generator[Call[Any], Any, tuple[bool, Schema | None]]:
        """Whether the version that answered understood the inputs as they were meant, and what it wants."""
        if asked is None or not part.depends_on_model or asked.version == answer.version:
            return True, asked
        found = self._schemas.of_version(self._model, answer.version)
        if found is None:
            try:
                found = yield from self._describe(answer.version, None)
            except NotFound:  # retired since: ask again, and another one answers
                return False, (yield from self._describe(self._version, self._label))
        if found is None:
            return False, None
        self._schemas.learn(self._model, self._version, self._label, found)
        return found.features == asked.features or not (found.has_categories or asked.has_categories), found

    def _describe(self, version: int | None, label: str | None) -> Generator[Call[Any], Any, Schema | None]:
        """The inputs of a model; None if this client may not know them."""
        if self._model in self._schemas.hidden:
            return None
        try:
            schema: Schema = yield _calls.schema(self._model, version=version, label=label)
        except (PermissionDenied, Unimplemented):
            self._schemas.hidden.add(self._model)
            return None
        self._schemas.learn(self._model, version, label, schema)
        return schema

    def _tensors(self, part: Table, schema: Schema | None) -> list[pb.Tensor]:
        if schema is None and part.depends_on_model:
            return part.text_tensors()
        return part.tensors(schema)

    def _call(self, tensors: list[pb.Tensor], version: int | None, label: str | None) -> Call[Prediction]:
        return _calls.predict(
            self._model, tensors, version=version, label=label, outputs=self._outputs, traceparent=self._traceparent,
            routing_key=self._routing_key if self._has_name else "", key=self._key if self._has_name else "",
        )  # fmt: skip


def warn_of_extra_columns(model: str, part: Table, schema: Schema) -> None:
    """Warns the caller of this package of columns that the model does not know."""
    extra = part.extra_columns(schema)
    if extra:
        names = ", ".join(repr(name) for name in extra)
        warnings.warn(
            f"model {model!r}: left out columns that it does not know: {names}",
            ExtraColumns,
            stacklevel=_depth_of_caller(),
        )


def _depth_of_caller() -> int:
    """The ``stacklevel`` of the first frame that is not this package's."""
    own = os.path.dirname(__file__) + os.sep
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        frame = frame.f_back
        depth += 1
    return depth


def _stacked(parts: list[Array]) -> Array:
    """The rows of several arrays, those of narrower arrays filled up with zeros or empty texts."""
    width = max(part.shape[1] for part in parts) if parts[0].ndim == 2 else 0
    for place, part in enumerate(parts):
        if part.ndim == 2 and part.shape[1] < width:
            parts[place] = np.zeros((len(part), width), part.dtype)
            parts[place][:, : part.shape[1]] = part
    return np.concatenate(parts)


def joined(answers: list[Prediction]) -> Prediction:
    """One prediction of those of consecutive rows."""
    return Prediction(
        model=answers[0].model,
        version=answers[0].version,
        outputs={name: _stacked([answer.outputs[name] for answer in answers]) for name in answers[0].outputs},
        timing=Timing(
            queue_us=sum(answer.timing.queue_us for answer in answers),
            compute_us=sum(answer.timing.compute_us for answer in answers),
            batch_rows=max(answer.timing.batch_rows for answer in answers),
        ),
    )

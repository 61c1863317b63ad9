"""What calls return."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

#: An array of any element type.
Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where the server spent its time on a request, in microseconds."""

    #: From the arrival of the request to the start of its computation.
    queue_us: int
    #: Computation of the batch.
    compute_us: int
    #: Rows of the batch that the request was computed in, its own included.
    batch_rows: int


@dataclasses.dataclass(frozen=True)
class Entity:
    """A name of a person, place and so on in a text."""

    #: What it is a name of.
    label: str
    text: str
    #: Its characters in the text that was asked about: ``asked[start:end] == text``.
    start: int
    end: int
    score: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """The part of a text that answers a question."""

    text: str
    #: Its characters in the text that it was looked for in; both 0 where there is none.
    start: int
    end: int
    score: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to ``predict``: one array per output, the first dimension being the rows asked.

    ``prediction["probabilities"]`` is short for ``prediction.outputs["probabilities"]``. What
    models of the Needletail trainer emit also has a property: ``label``, ``class_index`` and
    ``probabilities`` for classification, ``prediction`` for regression, ``entities`` and ``answers`` for places in
    texts.
    """

    model: str
    #: The version that answered.
    version: int
    #: float32, int64 or text arrays by output name.
    outputs: dict[str, Array]
    timing: Timing

    def __getitem__(self, output: str) -> Array:
        try:
            return self.outputs[output]
        except KeyError:
            raise KeyError(f"no output {output!r}; there are {', '.join(sorted(self.outputs))}") from None

    def _named(self, output: str) -> Array:
        # AttributeError, so that hasattr() answers "is this a classification?".
        if output not in self.outputs:
            raise AttributeError(f"no output {output!r}; there are {', '.join(sorted(self.outputs))}")
        return self.outputs[output]

    @property
    def label(self) -> npt.NDArray[np.str_]:
        """Label of the most likely class, one per row."""
        return self._named("label")

    @property
    def class_index(self) -> npt.NDArray[np.int64]:
        """Index of the most likely class, one per row."""
        return self._named("class")

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Probability of every class, shape [rows, classes]."""
        return self._named("probabilities")

    @property
    def prediction(self) -> npt.NDArray[np.float32]:
        """The predicted number, one per row."""
        return self._named("prediction")

    @property
    def entities(self) -> list[list[Entity]]:
        """Names in the text of each row, in their order."""
        names = ("label", "text", "start", "end", "score")
        columns = [self._named(f"entity_{name}").tolist() for name in names]
        # Rows are filled up to the one with the most.
        return [[Entity(*entity) for entity in zip(*row) if entity[0]] for row in zip(*columns)]

    @property
    def answers(self) -> list[Answer]:
        """The part of each row's text that answers its question."""
        columns = [self._named(f"answer_{name}").tolist() for name in ("text", "start", "end", "score")]
        return [Answer(*answer) for answer in zip(*columns)]


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Where one version of a model is on its way from the store to serving."""

    version: int
    #: incomplete, verifying, loading, checking, warming, live, retiring, retired or rejected.
    state: str
    #: Why it was rejected, or what it waits for; else empty.
    reason: str
    #: SHA-256 of the bundle's directory.
    digest: str
    #: Name of the key that signed it; empty if unsigned.
    signer: str
    #: When it entered this state.
    since: datetime.datetime
    resident_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelStatus:
    """A model and its versions, newest first."""

    model: str
    #: The version that answers when none is asked for; 0 if there is none.
    serving_version: int
    versions: tuple[VersionStatus, ...]


@dataclasses.dataclass(frozen=True)
class Health:
    """Whether the process lives, and whether it takes traffic."""

    live: bool
    ready: bool
    models: tuple[ModelStatus, ...]


@dataclasses.dataclass(frozen=True)
class ServerLimits:
    """The limits of a server that are in force; 0 stands for one that it does not tell."""

    request_bytes_max: int
    answer_bytes_max: int
    #: Rows of one call; ``predict`` cuts more into several.
    rows_max: int
    #: Calls in flight on a connection, and of these those that are no predictions.
    calls_in_flight_max: int
    other_calls_in_flight_max: int
    #: Tensors of one call, dimensions of one of them, and names of outputs.
    tensors_max: int
    dimensions_max: int
    output_names_max: int
    routing_key_bytes_max: int
    #: Bytes of one text in a column of text.
    text_bytes_max: int
    #: Bytes of the answers of one connection that are computed or wait to be read.
    output_bytes_max: int
    #: Silence, in milliseconds, after which a connection is closed.
    idle_ms: int


@dataclasses.dataclass(frozen=True)
class ServerInfo:
    """What a server is."""

    name: str
    version: str
    #: The instruction set that it compiles models for.
    isa: str
    #: What it offers beside the calls that every server has; ``proto/README.md`` lists them.
    features: tuple[str, ...]
    limits: ServerLimits


@dataclasses.dataclass(frozen=True)
class StoreProblem:
    """A file in the store that is no bundle of any model."""

    #: Below the store.
    path: str
    reason: str


class ModelList(Sequence[ModelStatus]):
    """The models of a server: a sequence, with the store's ``problems`` beside it."""

    def __init__(self, models: Sequence[ModelStatus], problems: Sequence[StoreProblem]) -> None:
        self._models = tuple(models)
        self.problems = tuple(problems)

    @overload
    def __getitem__(self, index: int) -> ModelStatus: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ModelStatus]: ...
    def __getitem__(self, index: int | slice) -> ModelStatus | Sequence[ModelStatus]:
        return self._models[index]

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"ModelList({list(self._models)!r}, problems={list(self.problems)!r})"


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model."""

    name: str
    #: The name of a numpy type, or "string".
    type: str
    #: 0 stands for the rows.
    shape: tuple[int, ...]
    #: The known categories of a categorical feature; else empty.
    categories: tuple[str, ...]
    #: Whether the feature may be missing.
    optional: bool
    description: str
    #: Whether the feature is free text, which counts as it is.
    text: bool = False


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """Everything that a server tells about one version of a model."""

    model: str
    version: int
    state: str
    #: classification or regression.
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    #: Label of every class, by class index.
    labels: tuple[str, ...]
    digest: str
    signer: str
    created: datetime.datetime
    #: Figures on the test split when the model was trained.
    metrics: dict[str, float]
    #: Where it came from: trainer version, data hash, seed, parent, configuration.
    lineage: dict[str, str]
    #: int8, fp32 or mixed.
    precision: str
    #: The instruction set that the server compiled it for.
    isa: str
    resident_bytes: int
    #: Steps of the compiled plan, for people.
    plan: list[str]
    #: How the server came to compute it this way, for people.
    plan_choice: str = ""

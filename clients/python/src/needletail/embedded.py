"""Predictions in this process: one bundle through libneedletail, without a server."""

from __future__ import annotations

import ctypes
import datetime
import os
import time
import weakref
from collections.abc import Iterable, Sequence
from ctypes import byref, c_char_p, c_size_t, c_uint64, c_void_p
from types import TracebackType
from typing import Any

import numpy as np

from . import _library
from ._inputs import Feature, Schema, Table
from ._library import STRING, Description, Error, Library, Options, Output, Tensor
from ._predict import joined, warn_of_extra_columns
from ._tensors import DENSE_NAME, type_name
from .errors import InvalidArgument
from .results import Array, ModelDescription, Prediction, TensorSpec, Timing
from .v1 import inference_pb2 as pb

_ARRAY = np.ndarray
_DTYPES: dict[int, Any] = {_library.FLOAT32: np.float32, _library.INT64: np.int64}
_nanoseconds = time.perf_counter_ns
_new = Prediction.__new__
#: Scratch of one text: its address and its length.
_TEXT = np.dtype([("address", np.uint64), ("length", np.uint64)])


def load(
    path: str | os.PathLike[str],
    *,
    trust: str | os.PathLike[str] | None = None,
    allow_unsigned: bool = False,
    model: str | None = None,
    version: int | None = None,
    threads: int = 1,
    library: str | os.PathLike[str] | None = None,
) -> Model:
    """Opens a bundle in this process, verified and checked as a server does it.

    Args:
        path: The bundle, for example ``"store/digits/3.ntb"``.
        trust: A trust file, as a server's ``--trust``.
        allow_unsigned: Whether a bundle without a trusted signature is opened too. One of the two must be given.
        model: The name that the bundle must have, if it matters.
        version: The version that it must have, if it matters.
        threads: Threads that may share one large layer, the caller's among them. The first model of a process that
            asks for more than one decides for all of them.
        library: Path of ``libneedletail.so.0``; by default what ``NEEDLETAIL_LIBRARY`` names, or what the system's
            loader finds.

    Raises:
        BundleRefused: with the reason, such as ``"untrusted"`` or ``"bad_hash"``.
        InvalidArgument: if an argument makes no sense.
        OSError: if there is no such library.

    Examples::

        model = needletail.load("store/digits/3.ntb", trust="trust.yaml")
        model.predict(np.zeros((1, 64), dtype=np.float32)).label
    """
    if version is not None and not 0 < version < 2**64:
        raise InvalidArgument(f"version: expected a number from 1 to 2**64 - 1, found {version}")
    if not 1 <= threads < 2**32:
        raise InvalidArgument(f"threads: expected a number from 1, found {threads}")
    options = Options(
        trust_file=None if trust is None else os.fsencode(trust),
        allow_unsigned=allow_unsigned,
        model=None if model is None else model.encode(),
        version=version or 0,
        threads=threads,
    )
    found = _library.library(None if library is None else os.fspath(library))
    handle, error = c_void_p(), Error()
    if found.open(os.fsencode(path), byref(options), byref(handle), byref(error)):
        raise found.error(error)
    return Model(found, handle)


class Model:
    """A bundle in this process, for any number of threads. Made by :func:`needletail.load`.

    Scratch is made when a call needs it, and kept for the next one: as much as there were calls at a time.
    """

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self._library = library
        self._handle: c_void_p | None = handle
        self._end = weakref.finalize(self, library.close, handle)
        self._description: Description = library.describe(handle).contents
        described = self._description
        #: Name of the model.
        self.name = str(described.model)
        #: Its version.
        self.version = int(described.version)
        features = [described.features[index] for index in range(described.feature_count)]
        self._schema = Schema(
            self.version, tuple(Feature(str(feature.name), feature.type == STRING) for feature in features)
        )
        self._layouts = [_Layout(index, described) for index in range(described.output_count)]
        # Rows of numbers alone, whose outputs are all wanted, take a short way.
        self._takes_numbers = not self._schema.has_categories and DENSE_NAME not in [
            f.name for f in self._schema.features
        ]
        self._free: list[_Scratch] = []

    def predict(self, inputs: Any, *, outputs: Iterable[str] = ()) -> Prediction:
        """Asks the model.

        Args:
            inputs: What :meth:`needletail.Client.predict` takes: rows, columns by name, a data frame.
            outputs: Names of the outputs wanted; all of them if empty.

        Returns:
            What the client of a server with this bundle returns. ``timing.queue_us`` is 0.

        Raises:
            NeedletailError: the error, of the class and with the sentence, that the client raises.
        """
        if type(inputs) is _ARRAY and self._takes_numbers and not outputs:
            try:
                scratch = self._free.pop()
            except IndexError:
                scratch = self._scratch()
            answer = scratch.answer_row(inputs)
            if self._handle is not None:
                self._free.append(scratch)
            if answer is not None:
                return answer
        return self._predict(inputs, outputs)

    def describe(self) -> ModelDescription:
        """Inputs, outputs, labels, signer, lineage and training metrics."""
        return _description(self._opened())

    def close(self) -> None:
        """Gives the model back; calls that are under way end as they would, later ones fail."""
        self._handle = None
        self._free = []
        self._end()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Description:
        if self._handle is None:
            raise RuntimeError("the model is closed")
        return self._description

    def _scratch(self) -> _Scratch:
        self._opened()
        context, error = c_void_p(), Error()
        if self._library.context_new(self._handle, byref(context), byref(error)):
            raise self._library.error(error)
        return _Scratch(self, context)

    def _predict(self, inputs: Any, outputs: Iterable[str]) -> Prediction:
        """Any inputs, in as many calls as their rows take."""
        layouts = self._selected(outputs)
        table = Table.read(inputs)
        rows_max = int(self._opened().rows_max)
        answers = []
        for start in range(0, len(table), rows_max):
            part = table if len(table) <= rows_max else table[start : start + rows_max]
            tensors = part.tensors(self._schema)
            if not part.is_positional and not part.is_fixed:
                warn_of_extra_columns(self.name, part, self._schema)
            answers.append(self._answer(tensors, len(part), layouts))
        return answers[0] if len(answers) == 1 else joined(answers)

    def _selected(self, outputs: Iterable[str]) -> list[_Layout]:
        """The outputs of these names, in the model's order, each once."""
        if isinstance(outputs, str):
            raise InvalidArgument(f"outputs: expected a list of names, found the text {outputs!r}")
        wanted = set()
        self._opened()
        for name in outputs:
            index, error, text = c_size_t(), Error(), name.encode()
            if self._library.find_output(self._handle, text, c_size_t(len(text)), byref(index), byref(error)):
                raise self._library.error(error)
            wanted.add(index.value)
        return [layout for layout in self._layouts if not wanted or layout.index in wanted]

    def _answer(self, tensors: Sequence[pb.Tensor], rows: int, layouts: Sequence[_Layout]) -> Prediction:
        inputs, memory = _c_tensors(tensors)
        values = [np.empty(rows * layout.columns, dtype=layout.dtype) for layout in layouts]
        outputs = (Output * max(1, len(layouts)))(
            *[Output(layout.index, array.ctypes.data, array.size) for layout, array in zip(layouts, values)]
        )
        error = Error()
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = self._scratch()
        start = _nanoseconds()
        code = self._library.predict(
            scratch.context, inputs, c_size_t(len(tensors)), outputs, c_size_t(len(layouts)), byref(error)
        )
        taken = _nanoseconds() - start
        if self._handle is not None:
            self._free.append(scratch)
        del memory
        if code:
            raise self._library.error(error)
        return Prediction(
            model=self.name,
            version=self.version,
            outputs={layout.name: layout.array(array, rows) for layout, array in zip(layouts, values)},
            timing=Timing(0, taken // 1000, rows),
        )


class _Layout:
    """One output: how its values lie in memory, and what becomes of them."""

    def __init__(self, index: int, description: Description) -> None:
        info = description.outputs[index]
        self.index = index
        self.name = str(info.name)
        self.is_text = info.type == STRING
        self.columns = int(info.columns)
        self.dtype = np.dtype(_TEXT if self.is_text else _DTYPES[info.type])
        #: Labels by the addresses that answers point at.
        self.labels = {
            int(description.labels[label].bytes): str(description.labels[label])
            for label in range(description.label_count if self.is_text else 0)
        }

    def array(self, values: Array, rows: int) -> Array:
        """The values as the client returns them."""
        if self.is_text:
            return np.array([self.labels[address] for address in values["address"].tolist()], dtype=np.str_)
        return values if self.columns == 1 else values.reshape(rows, self.columns)


class _Scratch:
    """A context with all that the call of one row needs, made once: numpy memory and the arguments of C."""

    def __init__(self, model: Model, context: c_void_p) -> None:
        self.context = context
        # Lives until the last call with it is over, also if the model was closed meanwhile.
        self._end = weakref.finalize(self, model._library.context_free, context)
        self._library = model._library
        self._error = Error()
        self._columns = len(model._schema.features)
        self._shape = (1, self._columns)
        self._values = [np.empty(layout.columns, dtype=layout.dtype) for layout in model._layouts]
        self._outputs = (Output * len(self._values))(
            *[Output(index, array.ctypes.data, array.size) for index, array in enumerate(self._values)]
        )
        self._rows = {"f": self._row(np.float32, _library.FLOAT32), "d": self._row(np.float64, _library.FLOAT64)}
        self._predict_rows = model._library.predict_rows
        self._known = {"model": model.name, "version": model.version}
        # For each output its numbers, or the place of its text's address with an array for each label.
        self._answers: list[tuple[str, Any, dict[int, Array] | None]] = []
        for layout, values in zip(model._layouts, self._values):
            if layout.is_text:
                labels = {address: np.array([label]) for address, label in layout.labels.items()}
                self._answers.append((layout.name, values.view(np.uint64).data, labels))
            else:
                self._answers.append((layout.name, values if layout.columns == 1 else values.reshape(1, -1), None))

    def _row(self, dtype: Any, data_type: int) -> tuple[Array, tuple[Any, ...]]:
        """Memory for one row, and the arguments of the call that answers it."""
        row: Array = np.empty(self._shape, dtype=dtype)
        return row, (
            self.context,
            ctypes.c_int(data_type),
            c_void_p(row.ctypes.data),
            c_size_t(1),
            c_size_t(self._columns),
            self._outputs,
            c_size_t(len(self._values)),
            byref(self._error),
        )

    def answer_row(self, inputs: Array) -> Prediction | None:
        """Answers one row of numbers; None if it is none, or is refused: the long way says why."""
        found = self._rows.get(inputs.dtype.char)
        if found is None or inputs.shape != self._shape:
            return None
        row, arguments = found
        row[...] = inputs
        start = _nanoseconds()
        if self._predict_rows(*arguments):
            return None
        microseconds = (_nanoseconds() - start) // 1000
        outputs = {}
        for name, values, labels in self._answers:
            outputs[name] = values.copy() if labels is None else labels[values[0]].copy()
        prediction = _new(Prediction)
        # A frozen dataclass sets its fields one by one, which takes as long as the model.
        fields = prediction.__dict__
        fields.update(self._known)
        fields["outputs"] = outputs
        fields["timing"] = _timings.get(microseconds) or _timing(microseconds)
        return prediction


_timings: dict[int, Timing] = {}


def _timing(microseconds: int) -> Timing:
    """The timing of one row, kept if it is one of those that nearly all are."""
    timing = Timing(0, microseconds, 1)
    if microseconds < 1000:
        _timings[microseconds] = timing
    return timing


def _c_tensors(tensors: Sequence[pb.Tensor]) -> tuple[Any, list[Any]]:
    """Tensors as C reads them, and the memory that must live as long."""
    inputs = (Tensor * max(1, len(tensors)))()
    memory: list[Any] = []
    for tensor, to in zip(tensors, inputs):
        name, shape = tensor.name.encode(), (c_uint64 * max(1, len(tensor.shape)))(*tensor.shape)
        to.name, to.name_length, to.type = name, len(name), int(tensor.type)
        to.shape, to.rank = shape, len(tensor.shape)
        data = tensor.data
        to.data, to.data_bytes = ctypes.cast(c_char_p(data), c_void_p), len(data)
        texts = _c_texts(tensor.strings, memory)
        to.texts, to.text_count = texts.ctypes.data, len(texts)
        memory += [name, shape, data, texts]
    return inputs, memory


def _c_texts(texts: Sequence[bytes], memory: list[Any]) -> Array:
    """Places of texts, one behind the other in one block."""
    block = b"".join(texts)
    memory.append(block)
    places: Array = np.zeros(len(texts), dtype=_TEXT)
    lengths = np.fromiter(map(len, texts), dtype=np.uint64, count=len(texts))
    places["length"] = lengths
    address = ctypes.cast(c_char_p(block), c_void_p).value or 0
    places["address"] = np.uint64(address) + np.cumsum(lengths, dtype=np.uint64) - lengths
    return places


def _description(found: Description) -> ModelDescription:
    inputs = []
    for index in range(found.feature_count):
        feature = found.features[index]
        inputs.append(
            TensorSpec(
                name=str(feature.name),
                type=type_name(feature.type),
                shape=(0,),
                categories=tuple(str(feature.categories[code]) for code in range(feature.category_count)),
                optional=feature.optional,
                description=str(feature.description),
                text=feature.text,
            )
        )
    outputs = []
    for index in range(found.output_count):
        output = found.outputs[index]
        shape = (0,) if output.columns == 1 else (0, int(output.columns))
        outputs.append(TensorSpec(str(output.name), type_name(output.type), shape, (), False, ""))
    created = datetime.datetime.fromtimestamp(found.created_ms / 1000, tz=datetime.timezone.utc)
    return ModelDescription(
        model=str(found.model),
        version=int(found.version),
        state="live",
        task=str(found.task),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        labels=tuple(str(found.labels[index]) for index in range(found.label_count)),
        digest=str(found.digest),
        signer=str(found.signer),
        created=created,
        metrics={str(found.metrics[index].name): found.metrics[index].value for index in range(found.metric_count)},
        lineage={
            str(found.lineage[index].name): str(found.lineage[index].value) for index in range(found.lineage_count)
        },
        precision=str(found.precision),
        isa=str(found.isa),
        resident_bytes=int(found.resident_bytes),
        plan=[str(found.plan[index]) for index in range(found.plan_count)],
        plan_choice=str(found.plan_choice),
    )

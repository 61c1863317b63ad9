"""Preprocessing of scikit-learn, folded into the splits of the trees behind it.

A split asks whether a prepared column is ≤ a threshold. Scalers never decrease, so there is one largest raw number for
which the answer is yes, and bisection with the scaler itself finds it: the folded split asks for the raw number, and
answers exactly as the pipeline does. An encoder's column takes one value for each category, so that the split becomes
one by a set of categories; an imputer says where a missing value goes. Nothing is left of the preprocessing when the
model is served, and no rounding differs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Monotone transformers that treat each column for itself.
_SCALERS = ("MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler")
_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
#: Servers bind numbers within the range of fp32.
_LARGEST = 3.4028234663852886e38
_BEYOND = 1.7976931348623157e308
_NAN = float("nan")

Function = Callable[[Any], Any]


@dataclass
class Number:
    """A column made of one raw number."""

    source: int
    #: Turns an array of raw numbers into prepared ones; never decreases. None: as it is.
    apply: Function | None = None
    #: What a missing value becomes; NaN: it stays missing.
    missing: Any = _NAN


@dataclass
class Table:
    """A column with a value for each category of a raw column."""

    source: int
    values: dict[str, float]
    #: None: the pipeline refuses what is no category, or missing.
    unknown: float | None
    missing: float | None


@dataclass
class Source:
    """A raw column of the data."""

    name: str
    #: Names of the categories that an encoder told apart; none: it is a number.
    categories: list[str] = field(default_factory=list)
    refuses_missing: bool = False
    refuses_unknown: bool = False

    def document(self) -> dict[str, Any]:
        """The feature as ``ExportImport`` reads it."""
        feature: dict[str, Any] = {"name": self.name, "missing": "refuse" if self.refuses_missing else "impute"}
        if self.categories:
            feature["categories"] = self.categories
            feature["unknown"] = "refuse" if self.refuses_unknown else "zeros"
        return feature


def category_name(value: Any) -> str:
    """A category as Needletail spells it: whole numbers without a point."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


class Preparation:
    """The columns that an estimator sees, in terms of the raw ones."""

    def __init__(self, names: Sequence[str]) -> None:
        self.sources = [Source(name) for name in names]
        self.columns: list[Any] = [Number(index) for index in range(len(names))]
        #: Whether the estimator sees a sparse matrix, whose zeros XGBoost reads as missing.
        self.is_sparse = False

    def add(self, step: Any) -> None:
        """Puts a fitted transformer behind what there is.

        Raises ``ValueError`` for one that is not known, or that is set to something which is not.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.columns = self._through(step, self.columns)
        if type(step).__name__ == "OneHotEncoder":
            self.is_sparse = bool(getattr(step, "sparse_output", getattr(step, "sparse", False)))
        self.is_sparse = bool(getattr(step, "sparse_output_", self.is_sparse))

    # ------------------------------------------------------------ transformers

    def _through(self, step: Any, columns: list[Any]) -> list[Any]:
        name = type(step).__name__
        if step is None or step == "passthrough":
            return columns
        if step == "drop":
            return []
        if name == "Pipeline":
            for _, inner in step.steps:
                columns = self._through(inner, columns)
            return columns
        if name == "ColumnTransformer":
            indices = step._transformer_to_input_indices
            return [
                column
                for key, inner, _ in step.transformers_
                for column in self._through(inner, [columns[index] for index in indices[key]])
            ]
        if name == "FeatureUnion":
            return [column for _, inner in step.transformer_list for column in self._through(inner, columns)]
        if name in _SCALERS:
            return [self._scaled(step, place, len(columns), column) for place, column in enumerate(columns)]
        if name in _ENCODERS:
            return self._encoded(step, columns)
        if name == "SimpleImputer":
            return self._imputed(step, columns)
        if name == "FunctionTransformer" and _is_check(step.func):
            return columns
        if hasattr(step, "get_support"):
            return [columns[index] for index in step.get_support(indices=True)]
        known = ", ".join(
            sorted((*_SCALERS, *_ENCODERS, "ColumnTransformer", "FeatureUnion", "Pipeline", "SimpleImputer"))
        )
        raise ValueError(f"expected preprocessing by {known} or a feature selection, found {name}")

    def _scaled(self, step: Any, place: int, width: int, column: Any) -> Any:
        import numpy

        def apply(values: Any) -> Any:
            rows = numpy.zeros((len(values), width))
            rows[:, place] = values
            return numpy.asarray(step.transform(rows), dtype=float)[:, place]

        return _chained(column, apply)

    def _imputed(self, step: Any, columns: list[Any]) -> list[Any]:
        if not _is_gap(step.missing_values):
            raise ValueError(f"expected SimpleImputer with missing_values=nan, found {step.missing_values!r}")
        imputed: list[Any] = []
        for column, fill in zip(columns, step.statistics_):
            if _is_gap(fill):
                # A column without any value leaves the data, or stays as it is.
                if getattr(step, "keep_empty_features", False):
                    imputed.append(column)
                continue
            imputed.append(_filled(column, fill))
        if step.add_indicator:
            for index in step.indicator_.features_:
                column = columns[index]
                if isinstance(column, Table):
                    raise ValueError("expected add_indicator before an encoder, found it behind one")
                gap = 1.0 if _is_gap(column.missing) else 0.0
                imputed.append(Number(column.source, lambda values: values * 0.0, gap))
        return imputed

    def _encoded(self, step: Any, columns: list[Any]) -> list[Any]:
        import numpy

        encoded: list[Any] = []
        lists = list(step.categories_)
        typical: list[Any] = [next((value for value in values if not _is_gap(value)), None) for values in lists]
        is_text = any(getattr(values, "dtype", None) is None or values.dtype.kind in "OUS" for values in lists)

        def transformed(place: int, values: list[Any]) -> Any:
            rows = [typical[:place] + [value] + typical[place + 1 :] for value in values]
            found = step.transform(numpy.array(rows, dtype=object if is_text else float))
            return numpy.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=float)

        def attempt(place: int, value: Any) -> Any:
            try:
                return transformed(place, [value])[0]
            except ValueError:
                return None

        first = 0
        for place, (column, values) in enumerate(zip(columns, lists)):
            if not isinstance(column, Number) or column.apply is not None:
                raise ValueError(f"expected {type(step).__name__} on raw columns, found it behind another transformer")
            present = [value for value in values if not _is_gap(value)]
            names = [category_name(value) for value in present]
            table = transformed(place, present)
            stranger = _stranger(present)
            unknown = None if getattr(step, "handle_unknown", "") == "error" else attempt(place, stranger)
            gap = column.missing
            if _is_gap(gap):
                # A missing value is a category of its own if the training data had one.
                own = next((value for value in values if _is_gap(value)), None)
                has_own = len(present) < len(values)
                missing = attempt(place, own) if has_own else attempt(place, None if is_text else _NAN)
                if missing is None and unknown is not None:
                    missing = unknown
            elif category_name(gap) in names:
                missing = table[names.index(category_name(gap))]
            else:
                missing = unknown
            self._categorise(column.source, names, unknown is None)
            for output in range(first, first + _width(step, place)):
                encoded.append(
                    Table(
                        column.source,
                        {name: float(row[output]) for name, row in zip(names, table)},
                        None if unknown is None else float(unknown[output]),
                        None if missing is None else float(missing[output]),
                    )
                )
            first += _width(step, place)
        return encoded

    def _categorise(self, source: int, names: list[str], refuses_unknown: bool) -> None:
        known = self.sources[source]
        if refuses_unknown and known.categories and set(known.categories) != set(names):
            raise ValueError(f"{known.name}: expected encoders with the same categories, found different ones")
        known.categories += [name for name in names if name not in known.categories]
        known.refuses_unknown = known.refuses_unknown or refuses_unknown

    # ------------------------------------------------------------ splits

    def fold(self, trees: list[dict[str, Any]], cast: Function, takes_gaps: bool) -> list[dict[str, Any]]:
        """The trees with splits of raw columns.

        ``cast`` is what the estimator does to a number before it compares: a step to fp32, for instance.
        """
        for column in self.columns:
            source = self.sources[column.source]
            if isinstance(column, Number) and source.categories:
                raise ValueError(f"{source.name}: expected it as a number or as a category, found it as both")
            if column.missing is None or (not takes_gaps and _is_gap(column.missing)):
                source.refuses_missing = True
        bounds = self._bounds(trees, cast)
        return [self._folded(tree, cast, bounds) for tree in trees]

    def _bounds(self, trees: list[dict[str, Any]], cast: Function) -> dict[tuple[int, float], float]:
        """For each prepared column and threshold, the largest raw number on its left side."""
        asked: dict[int, set[float]] = {}
        for tree in trees:
            sets = tree.get("sets") or [None] * len(tree["left"])
            for left, feature, threshold, members in zip(tree["left"], tree["feature"], tree["threshold"], sets):
                if left >= 0 and members is None and isinstance(self.columns[feature], Number):
                    asked.setdefault(feature, set()).add(threshold)
        bounds: dict[tuple[int, float], float] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for feature, thresholds in asked.items():
                ordered = sorted(thresholds)
                apply = self.columns[feature].apply
                for threshold, bound in zip(ordered, _bisect(ordered, apply, cast)):
                    bounds[feature, threshold] = bound
        return bounds

    def _folded(self, tree: dict[str, Any], cast: Function, bounds: dict[tuple[int, float], float]) -> dict[str, Any]:
        count = len(tree["left"])
        folded = {**tree, "left": list(tree["left"]), "right": list(tree["right"]), "sets": [None] * count}
        for key in ("feature", "threshold", "missing_left"):
            folded[key] = list(tree[key])
        for node in range(count):
            if tree["left"][node] < 0:
                continue
            feature, threshold = tree["feature"][node], tree["threshold"][node]
            column = self.columns[feature]
            members = tree["sets"][node] if tree.get("sets") else None
            test = _Test(threshold, members, bool(tree["missing_left"][node]), cast)
            folded["feature"][node] = column.source
            folded["missing_left"][node] = test.goes_left(column.missing)
            if isinstance(column, Number):
                if members is not None:
                    raise ValueError("expected an encoder before a categorical split, found a number")
                folded["threshold"][node] = bounds[feature, threshold]
                continue
            # Codes in the set go left, and so unknown ones right: where those belong left, the children change places.
            swaps = column.unknown is not None and test.goes_left(column.unknown)
            categories = self.sources[column.source].categories
            values = [column.values.get(name, column.unknown) for name in categories]
            folded["sets"][node] = [code for code, value in enumerate(values) if test.goes_left(value) != swaps]
            folded["threshold"][node] = 0.0
            if swaps:
                folded["left"][node], folded["right"][node] = tree["right"][node], tree["left"][node]
                folded["missing_left"][node] = not folded["missing_left"][node]
        return folded


@dataclass
class _Test:
    """What a split asks of a prepared value."""

    threshold: float
    #: Categories that go left, and all that are known; None: a numeric split.
    members: dict[str, set[int]] | None
    missing_left: bool
    cast: Function

    def goes_left(self, value: float | None) -> bool:
        import numpy

        if value is None or math.isnan(value):
            return self.missing_left
        if self.members is None:
            return bool(self.cast(numpy.array([float(value)]))[0] <= self.threshold)
        # What is neither listed nor known counts as missing.
        return value in self.members["left"] or (value not in self.members["known"] and self.missing_left)


def _chained(column: Any, apply: Function) -> Any:
    import numpy

    def value(number: Any) -> Any:
        return number if number is None or _is_gap(number) else float(apply(numpy.array([float(number)]))[0])

    if isinstance(column, Table):
        values = {name: value(number) for name, number in column.values.items()}
        return Table(column.source, values, value(column.unknown), value(column.missing))
    before = column.apply
    whole = apply if before is None else lambda values: apply(before(values))
    return Number(column.source, whole, value(column.missing))


def _filled(column: Any, fill: Any) -> Any:
    """The column with a value in its gaps. A missing value that an encoder refuses is still refused."""

    def value(number: Any) -> Any:
        return fill if number is not None and _is_gap(number) else number

    if isinstance(column, Table):
        values = {name: value(number) for name, number in column.values.items()}
        return Table(column.source, values, value(column.unknown), value(column.missing))
    return Number(column.source, column.apply, fill if _is_gap(column.missing) else column.missing)


def _is_check(function: Any) -> bool:
    """Whether a function changes nothing, as those with which scikit-learn's estimators check their input."""
    return function is None or getattr(function, "func", function).__module__.startswith("sklearn.utils.")


def _width(step: Any, place: int) -> int:
    """Number of columns that an encoder makes of one."""
    name = type(step).__name__
    if name == "OrdinalEncoder":
        return 1
    if name == "TargetEncoder":
        return len(step.classes_) if getattr(step, "target_type_", "") == "multiclass" else 1
    widths = getattr(step, "_n_features_outs", None)
    if widths is not None:
        return int(widths[place])
    dropped = step.drop_idx_ is not None and step.drop_idx_[place] is not None
    return len(step.categories_[place]) - int(dropped)


def _stranger(values: list[Any]) -> Any:
    """Something of their type that is none of some categories."""
    if all(isinstance(value, (int, float)) or hasattr(value, "dtype") for value in values):
        return float(max((float(value) for value in values), default=0.0)) + 1.0
    stranger = "stranger"
    while stranger in values:
        stranger += "_"
    return stranger


def _bisect(thresholds: list[float], apply: Function | None, cast: Function) -> list[float]:
    """For each threshold the largest double that the estimator sends left of it."""
    import numpy

    wanted = numpy.asarray(thresholds, dtype=float)
    sign = numpy.uint64(1) << numpy.uint64(63)

    def number(keys: Any) -> Any:
        # Integers in the order of the doubles.
        bits = numpy.where(keys & sign, keys ^ sign, ~keys)
        return bits.astype(numpy.uint64).view(numpy.float64)

    def key(value: float) -> Any:
        bits = numpy.full(len(wanted), value).view(numpy.uint64)
        return numpy.where(bits & sign, ~bits, bits | sign).astype(numpy.uint64)

    def is_left(keys: Any) -> Any:
        values = number(keys)
        return cast(values if apply is None else apply(values)) <= wanted

    low, high = key(-_LARGEST), key(_LARGEST)
    never, always = ~is_left(low), is_left(high)
    while (open_ := high - low > 1).any():
        middle = low + ((high - low) >> numpy.uint64(1))
        left = is_left(middle)
        low = numpy.where(open_ & left, middle, low)
        high = numpy.where(open_ & ~left, middle, high)
    bounds = numpy.where(never, -_BEYOND, numpy.where(always, _BEYOND, number(low)))
    return [float(bound) for bound in bounds]

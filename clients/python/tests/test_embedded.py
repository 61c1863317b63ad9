"""needletail.load. Needs NEEDLETAIL_BIN, the directory of the three programs, and NEEDLETAIL_LIBRARY, libneedletail."""

from __future__ import annotations

import gc
import os
import pickle
import threading
from pathlib import Path

import needletail
import numpy as np
import pytest
from real_server import BINARIES, EXAMPLES, run_program

if not BINARIES or not os.environ.get("NEEDLETAIL_LIBRARY"):
    pytest.skip("NEEDLETAIL_BIN and NEEDLETAIL_LIBRARY name no programs and no library", allow_module_level=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    run_program("needletail-trainer", "train", EXAMPLES / "wine" / "train.yaml", "--output", directory / "run",
        "--publish", directory / "store")  # fmt: skip
    return directory / "store" / "wine" / "1.ntb"


@pytest.fixture
def model(bundle: Path) -> needletail.Model:
    return needletail.load(bundle, allow_unsigned=True)


def rows_of(model: needletail.Model, count: int) -> np.ndarray:
    chance = np.random.default_rng(1)
    return chance.uniform(1, 5, (count, len(model.describe().inputs)))


def test_one_row_takes_the_short_way_to_the_same_answer(model: needletail.Model) -> None:
    rows = rows_of(model, 20)
    together = model.predict(rows)
    for index, row in enumerate(rows):
        alone = model.predict(row[None])
        for name, values in together.outputs.items():
            assert alone[name].dtype.kind == values.dtype.kind
            assert alone[name].tobytes() == values[index : index + 1].astype(alone[name].dtype).tobytes()
            assert alone[name].shape == values[index : index + 1].shape
        assert (alone.model, alone.version, alone.timing.queue_us, alone.timing.batch_rows) == ("wine", 1, 0, 1)


def test_an_answer_is_the_callers(model: needletail.Model) -> None:
    rows = rows_of(model, 2)
    first = model.predict(rows[:1])
    kept = first.probabilities.copy()
    model.predict(rows[1:])
    assert (first.probabilities == kept).all()
    first.probabilities[:] = 0
    assert (model.predict(rows[:1]).probabilities == kept).all()


def test_threads_share_a_model(model: needletail.Model) -> None:
    rows = rows_of(model, 30)
    expected = [model.predict(row[None]).probabilities.tobytes() for row in rows]
    wrong: list[int] = []

    def ask() -> None:
        for index in [*range(30)] * 20:
            if model.predict(rows[index][None]).probabilities.tobytes() != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_model_says_so(bundle: Path) -> None:
    with needletail.load(bundle, allow_unsigned=True) as model:
        row = rows_of(model, 1)
        model.predict(row)
    for ask in (lambda: model.predict(row), lambda: model.predict(row.tolist()), model.describe):
        with pytest.raises(RuntimeError, match="closed"):
            ask()
    model.close()


def test_what_is_let_go_is_freed(bundle: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def use() -> None:
        model = needletail.load(bundle, allow_unsigned=True)
        model.predict(rows_of(model, 1))

    for _ in range(5):
        use()
    gc.collect()
    before = resident()
    for _ in range(50):
        use()
    gc.collect()
    # A model and its scratch take some 200 kB.
    assert resident() - before < 5 << 20


def test_a_forked_child_goes_on(model: needletail.Model) -> None:
    row = rows_of(model, 1)
    expected = model.predict(row).probabilities.tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if model.predict(row).probabilities.tobytes() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert model.predict(row).probabilities.tobytes() == expected


def test_a_refused_bundle_says_why(bundle: Path, tmp_path: Path) -> None:
    def refusal(path: Path, **options: object) -> needletail.BundleRefused:
        with pytest.raises(needletail.BundleRefused) as caught:
            needletail.load(path, **options)  # type: ignore[arg-type]
        return caught.value

    cut = tmp_path / "cut.ntb"
    cut.write_bytes(bundle.read_bytes()[:-1])
    trust = tmp_path / "trust.yaml"
    trust.write_text("keys: []\n")
    assert refusal(bundle, trust=trust).reason == "unsigned"
    assert refusal(cut, allow_unsigned=True).reason == "truncated"
    assert refusal(tmp_path / "none.ntb", allow_unsigned=True).reason == "io"
    assert refusal(bundle, allow_unsigned=True, model="beer").reason == "wrong_name"
    error = refusal(bundle, allow_unsigned=True, version=2)
    assert error.message == "version: expected 2, found 1"
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.message) == (error.reason, error.message)


def test_arguments_that_make_no_sense(bundle: Path) -> None:
    for options in ({}, {"allow_unsigned": True, "version": 0}, {"allow_unsigned": True, "threads": 0},
                    {"allow_unsigned": True, "threads": 65}):  # fmt: skip
        with pytest.raises(needletail.InvalidArgument):
            needletail.load(bundle, **options)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="NEEDLETAIL_LIBRARY"):
        needletail.load(bundle, allow_unsigned=True, library="/nowhere/libneedletail.so")

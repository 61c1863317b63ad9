"""Both clients against a real server. Needs NEEDLETAIL_BIN, the directory of the three programs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needletail
import numpy as np
import pandas as pd
import pytest
from needletail import AsyncClient, Client
from real_server import Server

if not os.environ.get("NEEDLETAIL_BIN"):
    pytest.skip("NEEDLETAIL_BIN names no directory of programs", allow_module_level=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.close()
    assert running.process.returncode == 0


def test_rows_columns_and_frames_give_the_trainers_answers(server: Server) -> None:
    columns = {name: server.rows[:, index] for index, name in enumerate(server.names)}
    inputs: list[Any] = [
        server.rows, server.rows.astype(np.float32), server.rows.tolist(),
        columns, pd.DataFrame(columns), server.rows.astype(str).tolist(),
    ]  # fmt: skip
    for address in (server.address, server.unix):
        with Client(address) as client:
            for rows in inputs:
                answer = client.predict("wine", rows)
                assert (answer.model, answer.version) == ("wine", 1)
                assert answer.label.tolist() == server.labels
                assert answer.probabilities.shape == (len(server.labels), 3)


def test_only_the_outputs_asked_for_come(server: Server) -> None:
    with Client(server.address) as client:
        assert list(client.predict("wine", server.rows, outputs=["label"]).outputs) == ["label"]


def test_what_is_wrong_is_said_and_the_connection_survives(server: Server) -> None:
    with Client(server.address, max_connections=1) as client:
        client.predict("wine", server.rows)
        before = client._pool._own().idle[-1]
        with pytest.raises(needletail.NotFound, match="vine"):
            client.predict("vine", server.rows)
        with pytest.raises(needletail.NotFound):
            client.predict("wine", server.rows, version=77)
        with pytest.raises(needletail.NotFound):
            client.predict("wine", server.rows, label="nobody")
        with pytest.raises(needletail.InvalidArgument):
            client.predict("wine", server.rows[:, :-1])
        with pytest.raises(needletail.InvalidArgument):
            client.predict("wine", {"alcohol": [13.0]})
        with pytest.raises(needletail.InvalidArgument):
            client.predict("wine", np.full((1, len(server.names)), np.nan))
        assert client.predict("wine", server.rows, version=1).label.tolist() == server.labels
        assert client._pool._own().idle[-1] is before


def test_health_models_description_and_metrics(server: Server) -> None:
    with Client(server.address) as client:
        health = client.health()
        assert health.live and health.ready
        [model] = client.models()
        assert (model.model, model.serving_version, model.versions[0].state) == ("wine", 1, "live")
        description = client.describe("wine")
        assert [spec.name for spec in description.inputs] == server.names
        assert {"label", "class", "probabilities"} == {spec.name for spec in description.outputs}
        assert description.task == "classification" and len(description.labels) == 3
        assert "needletail_requests_total" in client.metrics()


@pytest.fixture(scope="module")
def codes(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with the model `codes` as well: y is ten times the code, which is a category, plus x."""
    directory = tmp_path_factory.mktemp("codes")
    dice = np.random.default_rng(1)
    with open(directory / "codes.csv", "w") as file:
        file.write("code,x,y\n")
        for _ in range(600):
            # Not in the order of the codes, so that an index of a category is not the category by chance.
            code, x = int(dice.choice([3, 1, 2], p=[0.3, 0.5, 0.2])), float(dice.normal())
            file.write(f"{code},{x!r},{ {1: 50.0, 2: -20.0, 3: 5.0}[code] + x!r}\n")
    (directory / "codes.yaml").write_text(
        "data:\n  files: [codes.csv]\n"
        "features:\n  columns:\n    code: { type: categorical, missing: most_frequent }\n    x: { type: numeric }\n"
        "target:\n  column: y\n  task: regression\n"
        "split: { train: 0.8, validation: 0.1, test: 0.1, seed: 1 }\n"
        "model:\n  family: linear_regression\npublish:\n  model: codes\n"
    )
    server.train("codes", directory / "codes.yaml")
    with Client(server.address) as client:
        end = time.monotonic() + 30
        while not any(model.model == "codes" and model.serving_version for model in client.models()):
            assert time.monotonic() < end, "the model is not live"
            time.sleep(0.05)
    return server


def test_integers_of_a_category_are_values_in_every_form(codes: Server) -> None:
    truth = [50.5, -19.5, 5.5]
    rows = [[1, 0.5], [2, 0.5], [3, 0.5]]
    forms: list[Any] = [
        rows,
        np.array(rows),
        [["1", 0.5], ["2", 0.5], ["3", 0.5]],
        {"code": [1, 2, 3], "x": [0.5] * 3},
        {"code": np.array([1, 2, 3]), "x": [0.5] * 3},
        [{"code": code, "x": x} for code, x in rows],
        pd.DataFrame(rows),
        pd.DataFrame({"x": [0.5] * 3, "code": [1, 2, 3]}),
        pd.DataFrame({"x": [0.5] * 3, "code": pd.Categorical(["1", "2", "3"])}),
        np.ma.masked_array(rows),
    ]
    for address in (codes.address, codes.unix):
        with Client(address) as client:
            for form in forms:
                np.testing.assert_allclose(client.predict("codes", form).prediction, truth, atol=0.05)


def test_indexes_of_categories_are_sent_by_the_name_of_the_tensor(codes: Server) -> None:
    with Client(codes.address) as client:
        [spec] = [spec for spec in client.describe("codes").inputs if spec.name == "code"]
        index = spec.categories.index("2")
        answer = client.predict("codes", {"features": [[index, 0.5]]})
        np.testing.assert_allclose(answer.prediction, [-19.5], atol=0.05)


def test_frames_with_a_gap_and_with_other_columns_are_answered(codes: Server) -> None:
    with Client(codes.address) as client:
        for gap in (None, np.nan, pd.NA):
            frame = pd.DataFrame({"id": [7], "code": [gap], "x": [0.5], "y": [1.0]})
            with pytest.warns(needletail.ExtraColumns, match="'id', 'y'"):
                answer = client.predict("codes", frame)
            np.testing.assert_allclose(answer.prediction, [50.5], atol=0.05)
            np.testing.assert_allclose(client.predict("codes", [[gap, 0.5]]).prediction, [50.5], atol=0.05)


def test_more_rows_than_a_call_may_have_are_answered_by_one_version(codes: Server) -> None:
    count = 10_000
    xs = np.linspace(-1, 1, count)
    with Client(codes.address) as client:
        answer = client.predict("codes", {"code": np.full(count, 2), "x": xs})
        np.testing.assert_allclose(answer.prediction, xs - 20, atol=0.05)
        rows = np.tile(codes.rows, (count // len(codes.rows) + 1, 1))[:count]
        labels = (codes.labels * (count // len(codes.labels) + 1))[:count]
        assert client.predict("wine", rows).label.tolist() == labels


def test_many_calls_in_flight_each_get_their_own_answer(server: Server) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            indices = [index % len(server.labels) for index in range(500)]
            answers = await asyncio.gather(*(client.predict("wine", server.rows[i : i + 1]) for i in indices))
            assert [answer.label[0] for answer in answers] == [server.labels[i] for i in indices]

    asyncio.run(main())


def test_a_server_that_stops_loses_no_call_that_it_accepted(tmp_path: Path) -> None:
    stopping = Server(tmp_path)
    ended: list[Exception] = []
    answered = [0]

    def ask() -> None:
        while not ended:
            try:
                client.predict("wine", stopping.rows[:1])
                answered[0] += 1
            except needletail.NeedletailError as error:
                ended.append(error)

    # Not repeated: a call lost after it was sent, which would be one that the server accepted.
    retries = needletail.RetryPolicy(retry_lost=False)
    try:
        with Client(stopping.address, retries=retries) as client:
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            while answered[0] < 200 and not ended:
                time.sleep(0.005)
            stopping.process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join(30)
            assert stopping.process.wait(30) == 0
        assert answered[0] >= 200
        for error in ended:
            assert isinstance(error, needletail.Unavailable), repr(error)
            assert not (isinstance(error, needletail.ConnectionLost) and error.sent), repr(error)
    finally:
        stopping.close()

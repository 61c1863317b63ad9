"""The conformance driver of the Python client: requests as JSON, one a line; answers one line each."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import sys
from typing import Any

import needletail
import numpy as np
from needletail import TLS, AsyncClient, Outcome, RetryPolicy

TYPES = {"FLOAT32": "<f4", "FLOAT64": "<f8", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
         "UINT8": "u1", "BOOL": "?", "STRING": object}  # fmt: skip
CAUSES = {
    needletail.ConnectionFailed: "connect",
    needletail.ConnectionLost: "lost",
    needletail.ProtocolError: "protocol",
}


def make_client(request: dict[str, Any]) -> AsyncClient:
    policy = RetryPolicy(
        attempts=request.get("attempts", 4), retry_lost=request.get("retry_lost", True),
        budget_ratio=request.get("budget_ratio", 0.1), budget_burst=request.get("budget_burst", 10.0),
    )  # fmt: skip
    tls: Any = False
    if "ca" in request:
        names = ("ca", "certificate", "key", "server_name")
        tls = TLS(**{name: request[name] for name in names if name in request})
    # One bound holds for requests and answers; without one, answers may be as long as a server sends them.
    return AsyncClient(
        request["address"], timeout=request.get("timeout_ms", 5000) / 1000, retries=policy, tls=tls,
        api_key=request.get("api_key"), max_frame_bytes=request.get("request_bytes_max", 64 << 20), max_rows=1 << 20,
    )  # fmt: skip


def array_of(tensor: dict[str, Any]) -> Any:
    kind, values = tensor["type"], tensor["values"]
    if kind.startswith("FLOAT"):
        values = [math.nan if value is None else float(value) for value in values]
    return np.array(values, dtype=TYPES[kind]).reshape(tensor["shape"])


async def predict(client: AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    answer = await client.predict(
        request["model"], {tensor["name"]: array_of(tensor) for tensor in request["inputs"]},
        version=request.get("version"), label=request.get("label"), outputs=request.get("outputs", ()),
        routing_key=request.get("routing_key", ""), key=request.get("key", ""),
        traceparent=request.get("traceparent", ""), **timeout_of(request),
    )  # fmt: skip
    outputs = [
        {"name": name, "type": "STRING" if array.dtype.kind == "U" else array.dtype.name.upper(),
         "shape": list(array.shape), "values": array.ravel().tolist()}
        for name, array in answer.outputs.items()
    ]  # fmt: skip
    timing = {name: getattr(answer.timing, name) for name in ("queue_us", "compute_us", "batch_rows")}
    return {"model": answer.model, "version": answer.version, "outputs": outputs, "timing": timing}


def truth_of(told: dict[str, Any]) -> Any:
    if "value" in told:
        return math.nan if told["value"] is None else told["value"]
    return told.get("label")


def timeout_of(request: dict[str, Any]) -> dict[str, Any]:
    if "timeout_ms" not in request:
        return {}
    ms = request["timeout_ms"]
    return {"timeout": None if ms is None else ms / 1000}


def models_of(models: Any) -> list[dict[str, Any]]:
    return [
        {"model": model.model, "serving_version": model.serving_version,
         "versions": [{"version": each.version, "state": each.state, "reason": each.reason} for each in model.versions]}
        for model in models
    ]  # fmt: skip


def specs_of(specs: Any) -> list[dict[str, Any]]:
    return [
        {"name": spec.name, "type": spec.type.upper(), "shape": list(spec.shape),
         "categories": list(spec.categories), "optional": spec.optional}
        for spec in specs
    ]  # fmt: skip


async def ask(client: AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    if request["do"] in ("predict", "start"):
        return await predict(client, request)
    if request["do"] == "health":
        health = await client.health(**timeout_of(request))
        return {"live": health.live, "ready": health.ready, "models": models_of(health.models)}
    if request["do"] == "metrics":
        return {"text": await client.metrics(**timeout_of(request))}
    if request["do"] == "feedback":
        outcomes = [Outcome(told["key"], truth_of(told), told.get("row", 0)) for told in request["outcomes"]]
        return dataclasses.asdict(await client.feedback(request["model"], outcomes, **timeout_of(request)))
    if request["do"] == "storm":
        return await storm(client, request)
    if request["do"] == "models":
        return {"models": models_of(await client.models(**timeout_of(request)))}
    if request["do"] == "server":
        info = await client.server_info(**timeout_of(request))
        names = ("rows_max", "request_bytes_max", "text_bytes_max", "idle_ms")
        return {"name": info.name, "version": info.version, "isa": info.isa, "features": list(info.features),
                "limits": {name: getattr(info.limits, name) for name in names}}  # fmt: skip
    model = await client.describe(request["model"], version=request.get("version"), label=request.get("label"))
    return {
        "model": model.model, "version": model.version, "state": model.state, "task": model.task,
        "labels": list(model.labels), "inputs": specs_of(model.inputs), "outputs": specs_of(model.outputs),
    }  # fmt: skip


async def storm(client: AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """Asks for rows whose answers differ from call to call, so that a swapped answer shows."""

    async def one(count: int) -> int:
        wrong = 0
        for number in range(count):
            odd, third = number % 2 > 0, number % 3 > 0
            row = np.array([[11 if odd else 10, 0, -3, 101 if third else 100]], dtype=np.float32)
            answer = await client.predict("grid", {"features": row})
            wrong += answer["prediction"][0] != 41.375 + odd + 32 * third
        return wrong

    return {"wrong": int(sum(await asyncio.gather(*(one(request["calls"]) for _ in range(request["threads"])))))}


async def outcome(work: Any) -> dict[str, Any]:
    try:
        return {"ok": True, **await work}
    except needletail.NeedletailError as error:
        detail = error.detail or needletail.ErrorDetail()
        return {"error": {
            "code": error.code.name, "message": error.message, "retry_after_us": round((error.retry_after or 0) * 1e6),
            "cause": next((cause for kind, cause in CAUSES.items() if isinstance(error, kind)), "status"),
            "field": detail.field, "row": detail.row,
            "limit": None if detail.limit is None else dataclasses.asdict(detail.limit),
        }}  # fmt: skip


async def main() -> None:
    clients: dict[str, AsyncClient] = {}
    calls: dict[str, asyncio.Task[dict[str, Any]]] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        answer: dict[str, Any] = {"ok": True}
        if request["do"] == "lacks":
            answer = {"lacks": ["bulk", "one call for one prediction"]}
        elif request["do"] == "open":
            try:
                clients[request["client"]] = make_client(request)
            except (ValueError, OSError) as error:
                answer = {"error": {"code": "INVALID_ARGUMENT", "message": str(error)}}
        elif request["do"] == "close":
            await clients.pop(request["client"]).close()
        elif request["do"] == "start":
            calls[request["call"]] = asyncio.create_task(outcome(ask(clients[request["client"]], request)))
        elif request["do"] == "finish":
            answer = await calls.pop(request["call"])
        elif request["do"] == "cancel":
            calls.pop(request["call"]).cancel()
        else:
            answer = await outcome(ask(clients[request["client"]], request))
        print(json.dumps(answer), flush=True)


asyncio.run(main())

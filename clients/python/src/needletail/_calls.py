"""The calls of the protocol as values: bytes to send and a function that reads the answer.

Shared by the sync and the asyncio client. No I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Generic, TypeVar

from google.protobuf.message import DecodeError

from . import _tensors
from ._inputs import Feature, Schema
from .errors import ErrorDetail, ExceededLimit, InvalidArgument, NeedletailError, ProtocolError, error_for_status
from .results import (
    Health,
    ModelDescription,
    ModelList,
    ModelStatus,
    Prediction,
    ServerInfo,
    ServerLimits,
    StoreProblem,
    TensorSpec,
    Timing,
    VersionStatus,
)
from .v1 import inference_pb2 as pb

T = TypeVar("T")
#: Ids are u64 in the protocol, and never 0.
_VERSION_MAX = 2**64 - 1


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """One call, encoded once however often it is attempted."""

    #: Name of the field of ``Response.result`` that answers it.
    result: str
    #: A serialised ``Request`` without id and timeout.
    body: bytes
    #: Reads the answer.
    read: Callable[[pb.Response], T]

    def payload(self, call_id: int, timeout_us: int) -> bytes:
        """The request of one attempt.

        Joined protobuf messages are one merged message, so that only the few bytes that differ
        between attempts are encoded again.
        """
        return pb.Request(id=call_id, timeout_us=timeout_us).SerializeToString() + self.body

    def answer(self, response: pb.Response) -> T:
        """What the call returns.

        Raises:
            NeedletailError: what the response's status says, or ProtocolError if the answer is
                not one to this call.
        """
        if response.status.code != pb.OK:
            raise status_error(response)
        if response.WhichOneof("result") != self.result:
            raise ProtocolError(f"result: expected {self.result}, found {response.WhichOneof('result') or 'nothing'}")
        return self.read(response)


def status_error(response: pb.Response) -> NeedletailError:
    """The error of a response whose status is not OK."""
    status = response.status
    return error_for_status(int(status.code), status.message, status.retry_after_us, _detail(status))


def _detail(status: pb.Status) -> ErrorDetail | None:
    if not status.HasField("detail"):
        return None
    detail, limit = status.detail, None
    if detail.HasField("limit"):
        limit = ExceededLimit(detail.limit.name, detail.limit.maximum, detail.limit.found)
    return ErrorDetail(detail.field, detail.row if detail.HasField("row") else None, limit)


def decode_response(frame: bytes) -> pb.Response:
    """Reads one frame.

    Raises:
        ProtocolError: if it is no ``Response``.
    """
    try:
        return pb.Response.FromString(frame)
    except DecodeError as error:
        raise ProtocolError(
            f"response: expected a needletail.v1.Response of {len(frame)} bytes, found {error}"
        ) from None


# ---------------------------------------------------------------- calls


def predict(
    model: str,
    tensors: Sequence[pb.Tensor],
    *,
    version: int | None,
    label: str | None,
    outputs: Sequence[str],
    routing_key: str,
    traceparent: str = "",
    key: str = "",
) -> Call[Prediction]:
    """Asks a model; ``_predict`` makes tensors of inputs."""
    request = pb.PredictRequest(model=model, inputs=tensors, outputs=outputs, routing_key=routing_key, key=key)
    _select(request, version, label)
    return Call("predict", pb.Request(predict=request, traceparent=traceparent).SerializeToString(), _read_prediction)


def schema(model: str, *, version: int | None, label: str | None) -> Call[Schema]:
    """The inputs of a model only, of all that ``describe_model`` tells."""
    return Call("describe_model", describe_model(model, version=version, label=label).body, _read_schema)


def health() -> Call[Health]:
    return Call("health", pb.Request(health=pb.HealthRequest()).SerializeToString(), _read_health)


def metrics() -> Call[str]:
    return Call(
        "metrics", pb.Request(metrics=pb.MetricsRequest()).SerializeToString(), lambda response: response.metrics.text
    )


def list_models() -> Call[ModelList]:
    return Call("list_models", pb.Request(list_models=pb.ListModelsRequest()).SerializeToString(), _read_models)


def server_info() -> Call[ServerInfo]:
    return Call("server_info", pb.Request(server_info=pb.ServerInfoRequest()).SerializeToString(), _read_server_info)


def describe_model(model: str, *, version: int | None, label: str | None) -> Call[ModelDescription]:
    request = pb.DescribeModelRequest(model=model)
    _select(request, version, label)
    return Call("describe_model", pb.Request(describe_model=request).SerializeToString(), _read_description)


def authenticate(api_key: str) -> Call[str]:
    return Call(
        "authenticate",
        pb.Request(authenticate=pb.AuthenticateRequest(api_key=api_key)).SerializeToString(),
        lambda response: response.authenticate.principal,
    )


def check_selector(version: int | None, label: str | None) -> None:
    """Refuses what can select no version."""
    if version is not None and label is not None:
        raise InvalidArgument(f"selector: expected a version or a label, found both ({version} and {label!r})")
    if version is not None and not 0 < version <= _VERSION_MAX:
        raise InvalidArgument(f"version: expected a number from 1 to 2**64 - 1, found {version}")


def _select(request: Any, version: int | None, label: str | None) -> None:
    check_selector(version, label)
    if version is not None:
        request.version = version
    if label is not None:
        request.label = label


# ---------------------------------------------------------------- answers


def _read_prediction(response: pb.Response) -> Prediction:
    answer = response.predict
    if answer.version == 0:
        raise ProtocolError("version: expected the version that answered, found 0")
    timing = answer.timing
    return Prediction(
        model=answer.model,
        version=answer.version,
        outputs={tensor.name: _tensors.decode_tensor(tensor) for tensor in answer.outputs},
        timing=Timing(timing.queue_us, timing.compute_us, timing.batch_rows),
    )


def _read_health(response: pb.Response) -> Health:
    answer = response.health
    return Health(live=answer.live, ready=answer.ready, models=_models(answer.models))


def _read_models(response: pb.Response) -> ModelList:
    answer = response.list_models
    return ModelList(_models(answer.models), [StoreProblem(p.path, p.reason) for p in answer.problems])


def _read_server_info(response: pb.Response) -> ServerInfo:
    answer = response.server_info
    limits = ServerLimits(**{each.name: getattr(answer.limits, each.name) for each in dataclasses.fields(ServerLimits)})
    return ServerInfo(answer.name, answer.version, answer.isa, tuple(answer.features), limits)


def _read_description(response: pb.Response) -> ModelDescription:
    answer = response.describe_model
    return ModelDescription(
        model=answer.model,
        version=answer.version,
        state=_state(answer.state),
        task=answer.task,
        inputs=_specs(answer.inputs),
        outputs=_specs(answer.outputs),
        labels=tuple(answer.labels),
        digest=answer.digest,
        signer=answer.signer,
        created=_time(answer.created_ms),
        metrics=dict(answer.metrics),
        lineage=dict(answer.lineage),
        precision=answer.precision,
        isa=answer.isa,
        resident_bytes=answer.resident_bytes,
        plan=list(answer.plan),
        plan_choice=answer.plan_choice,
    )


def _read_schema(response: pb.Response) -> Schema:
    answer = response.describe_model
    return Schema(answer.version, tuple(Feature(spec.name, spec.type == pb.STRING) for spec in answer.inputs))


def _models(models: Iterable[pb.ModelStatus]) -> tuple[ModelStatus, ...]:
    return tuple(
        ModelStatus(
            model=model.model,
            serving_version=model.serving_version,
            versions=tuple(
                VersionStatus(
                    version=version.version,
                    state=_state(version.state),
                    reason=version.reason,
                    digest=version.digest,
                    signer=version.signer,
                    since=_time(version.since_ms),
                    resident_bytes=version.resident_bytes,
                )
                for version in model.versions
            ),
        )
        for model in models
    )


def _specs(specs: Sequence[pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=spec.name,
            type=_tensors.type_name(spec.type),
            shape=tuple(spec.shape),
            categories=tuple(spec.categories),
            optional=spec.optional,
            description=spec.description,
            text=spec.text,
        )
        for spec in specs
    )


def _state(state: int) -> str:
    try:
        return pb.VersionState.Name(state).lower()
    except ValueError:
        return f"state {state}"


def _time(milliseconds: int) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(milliseconds / 1000, tz=datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):
        raise ProtocolError(f"time: expected Unix milliseconds, found {milliseconds}") from None

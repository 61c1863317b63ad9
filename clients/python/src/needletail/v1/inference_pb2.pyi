from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

APOSTROPHE: ThousandsMark
BOOL: DataType
BULK: Priority
CHECKING: VersionState
COMMA: ThousandsMark
DATA_TYPE_UNSPECIFIED: DataType
DEADLINE_EXCEEDED: StatusCode
DESCRIPTOR: _descriptor.FileDescriptor
FLOAT32: DataType
FLOAT64: DataType
INCOMPLETE: VersionState
INT16: DataType
INT32: DataType
INT64: DataType
INT8: DataType
INTERACTIVE: Priority
INTERNAL: StatusCode
INVALID_ARGUMENT: StatusCode
LIVE: VersionState
LOADING: VersionState
NOT_FOUND: StatusCode
NO_MARK: ThousandsMark
OK: StatusCode
OVERLOADED: StatusCode
PERMISSION_DENIED: StatusCode
POINT: ThousandsMark
REJECTED: VersionState
RETIRED: VersionState
RETIRING: VersionState
ROLLOUT_SHOW: RolloutAction
ROLLOUT_UNDO: RolloutAction
SPACE: ThousandsMark
STRING: DataType
UINT8: DataType
UNAUTHENTICATED: StatusCode
UNAVAILABLE: StatusCode
UNIMPLEMENTED: StatusCode
VERIFYING: VersionState
VERSION_STATE_UNSPECIFIED: VersionState
WARMING: VersionState

class AuthenticateRequest(_message.Message):
    __slots__ = ["api_key"]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    api_key: str
    def __init__(self, api_key: _Optional[str] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ["principal"]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    principal: str
    def __init__(self, principal: _Optional[str] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ["label", "model", "version"]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    label: str
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ["created_ms", "digest", "inputs", "isa", "labels", "lineage", "metrics", "model", "outputs", "plan", "plan_choice", "precision", "resident_bytes", "signer", "state", "status", "task", "value_rules", "version"]
    class LineageEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_CHOICE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    VALUE_RULES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    created_ms: int
    digest: str
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    isa: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    lineage: _containers.ScalarMap[str, str]
    metrics: _containers.ScalarMap[str, float]
    model: str
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    plan: _containers.RepeatedScalarFieldContainer[str]
    plan_choice: str
    precision: str
    resident_bytes: int
    signer: str
    state: VersionState
    status: VersionStatus
    task: str
    value_rules: ValueRules
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., task: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., digest: _Optional[str] = ..., signer: _Optional[str] = ..., created_ms: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., lineage: _Optional[_Mapping[str, str]] = ..., precision: _Optional[str] = ..., isa: _Optional[str] = ..., resident_bytes: _Optional[int] = ..., plan: _Optional[_Iterable[str]] = ..., status: _Optional[_Union[VersionStatus, _Mapping]] = ..., plan_choice: _Optional[str] = ..., value_rules: _Optional[_Union[ValueRules, _Mapping]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ["field", "limit", "row"]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    field: str
    limit: ExceededLimit
    row: int
    def __init__(self, field: _Optional[str] = ..., row: _Optional[int] = ..., limit: _Optional[_Union[ExceededLimit, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ["facts", "kind", "message", "model", "sequence", "severity", "time_ms", "version"]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    facts: _containers.RepeatedCompositeFieldContainer[EventFact]
    kind: str
    message: str
    model: str
    sequence: int
    severity: str
    time_ms: int
    version: int
    def __init__(self, sequence: _Optional[int] = ..., time_ms: _Optional[int] = ..., kind: _Optional[str] = ..., severity: _Optional[str] = ..., message: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., facts: _Optional[_Iterable[_Union[EventFact, _Mapping]]] = ...) -> None: ...

class EventFact(_message.Message):
    __slots__ = ["name", "value"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ["after", "limit"]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class EventsResponse(_message.Message):
    __slots__ = ["began_ms", "events", "newest", "oldest"]
    BEGAN_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    began_ms: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    newest: int
    oldest: int
    def __init__(self, oldest: _Optional[int] = ..., newest: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., began_ms: _Optional[int] = ...) -> None: ...

class ExceededLimit(_message.Message):
    __slots__ = ["found", "maximum", "name"]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    found: int
    maximum: int
    name: str
    def __init__(self, name: _Optional[str] = ..., maximum: _Optional[int] = ..., found: _Optional[int] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ["model", "outcomes"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    model: str
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, model: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ["contradictory", "duplicate", "invalid", "joined", "late", "problems", "unknown"]
    CONTRADICTORY_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    INVALID_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    contradictory: int
    duplicate: int
    invalid: int
    joined: int
    late: int
    problems: _containers.RepeatedCompositeFieldContainer[OutcomeProblem]
    unknown: int
    def __init__(self, joined: _Optional[int] = ..., unknown: _Optional[int] = ..., late: _Optional[int] = ..., duplicate: _Optional[int] = ..., contradictory: _Optional[int] = ..., invalid: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[OutcomeProblem, _Mapping]]] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ["last_id"]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    last_id: int
    def __init__(self, last_id: _Optional[int] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ["live", "models", "ready"]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    live: bool
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    ready: bool
    def __init__(self, live: bool = ..., ready: bool = ..., models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ["models", "problems"]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    problems: _containers.RepeatedCompositeFieldContainer[StoreProblem]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[StoreProblem, _Mapping]]] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class MetricsResponse(_message.Message):
    __slots__ = ["text"]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ["model", "serving_version", "versions"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVING_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    serving_version: int
    versions: _containers.RepeatedCompositeFieldContainer[VersionStatus]
    def __init__(self, model: _Optional[str] = ..., serving_version: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[VersionStatus, _Mapping]]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ["key", "label", "row", "value"]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    label: str
    row: int
    value: float
    def __init__(self, key: _Optional[str] = ..., row: _Optional[int] = ..., label: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class OutcomeProblem(_message.Message):
    __slots__ = ["index", "message", "result"]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    index: int
    message: str
    result: str
    def __init__(self, index: _Optional[int] = ..., result: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ["inputs", "key", "label", "model", "outputs", "priority", "routing_key", "version"]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    key: str
    label: str
    model: str
    outputs: _containers.RepeatedScalarFieldContainer[str]
    priority: Priority
    routing_key: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., routing_key: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., key: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ["model", "outputs", "timing", "version"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    timing: Timing
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ["authenticate", "describe_model", "events", "feedback", "health", "id", "list_models", "metrics", "predict", "rollout", "server_info", "timeout_us", "traceparent"]
    AUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_MODEL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIST_MODELS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    SERVER_INFO_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    authenticate: AuthenticateRequest
    describe_model: DescribeModelRequest
    events: EventsRequest
    feedback: FeedbackRequest
    health: HealthRequest
    id: int
    list_models: ListModelsRequest
    metrics: MetricsRequest
    predict: PredictRequest
    rollout: RolloutRequest
    server_info: ServerInfoRequest
    timeout_us: int
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., timeout_us: _Optional[int] = ..., predict: _Optional[_Union[PredictRequest, _Mapping]] = ..., health: _Optional[_Union[HealthRequest, _Mapping]] = ..., metrics: _Optional[_Union[MetricsRequest, _Mapping]] = ..., list_models: _Optional[_Union[ListModelsRequest, _Mapping]] = ..., describe_model: _Optional[_Union[DescribeModelRequest, _Mapping]] = ..., authenticate: _Optional[_Union[AuthenticateRequest, _Mapping]] = ..., events: _Optional[_Union[EventsRequest, _Mapping]] = ..., rollout: _Optional[_Union[RolloutRequest, _Mapping]] = ..., server_info: _Optional[_Union[ServerInfoRequest, _Mapping]] = ..., feedback: _Optional[_Union[FeedbackRequest, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ["authenticate", "describe_model", "events", "feedback", "go_away", "health", "id", "list_models", "metrics", "predict", "rollout", "server_info", "status"]
    AUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_MODEL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIST_MODELS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    SERVER_INFO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    authenticate: AuthenticateResponse
    describe_model: DescribeModelResponse
    events: EventsResponse
    feedback: FeedbackResponse
    go_away: GoAway
    health: HealthResponse
    id: int
    list_models: ListModelsResponse
    metrics: MetricsResponse
    predict: PredictResponse
    rollout: RolloutResponse
    server_info: ServerInfoResponse
    status: Status
    def __init__(self, id: _Optional[int] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., predict: _Optional[_Union[PredictResponse, _Mapping]] = ..., health: _Optional[_Union[HealthResponse, _Mapping]] = ..., metrics: _Optional[_Union[MetricsResponse, _Mapping]] = ..., list_models: _Optional[_Union[ListModelsResponse, _Mapping]] = ..., describe_model: _Optional[_Union[DescribeModelResponse, _Mapping]] = ..., authenticate: _Optional[_Union[AuthenticateResponse, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., events: _Optional[_Union[EventsResponse, _Mapping]] = ..., rollout: _Optional[_Union[RolloutResponse, _Mapping]] = ..., server_info: _Optional[_Union[ServerInfoResponse, _Mapping]] = ..., feedback: _Optional[_Union[FeedbackResponse, _Mapping]] = ...) -> None: ...

class RolloutArm(_message.Message):
    __slots__ = ["compute_ns", "failed", "labels", "nan_outputs", "requests", "rows", "share_ppm", "version"]
    COMPUTE_NS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NAN_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    compute_ns: int
    failed: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    nan_outputs: int
    requests: int
    rows: int
    share_ppm: int
    version: int
    def __init__(self, version: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., share_ppm: _Optional[int] = ..., requests: _Optional[int] = ..., failed: _Optional[int] = ..., rows: _Optional[int] = ..., nan_outputs: _Optional[int] = ..., compute_ns: _Optional[int] = ...) -> None: ...

class RolloutLabel(_message.Message):
    __slots__ = ["answering_version", "name", "reason", "state", "version"]
    ANSWERING_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    answering_version: int
    name: str
    reason: str
    state: VersionState
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., answering_version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class RolloutRequest(_message.Message):
    __slots__ = ["action", "force", "from_version", "model"]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    action: RolloutAction
    force: bool
    from_version: int
    model: str
    def __init__(self, model: _Optional[str] = ..., action: _Optional[_Union[RolloutAction, str]] = ..., from_version: _Optional[int] = ..., force: bool = ...) -> None: ...

class RolloutResponse(_message.Message):
    __slots__ = ["arms", "durable", "file", "labels", "model", "problem", "serving_version", "set_aside", "shadow", "state_problem"]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SERVING_VERSION_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    STATE_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    arms: _containers.RepeatedCompositeFieldContainer[RolloutArm]
    durable: bool
    file: str
    labels: _containers.RepeatedCompositeFieldContainer[RolloutLabel]
    model: str
    problem: str
    serving_version: int
    set_aside: _containers.RepeatedCompositeFieldContainer[RolloutSetAside]
    shadow: RolloutShadow
    state_problem: str
    def __init__(self, model: _Optional[str] = ..., serving_version: _Optional[int] = ..., arms: _Optional[_Iterable[_Union[RolloutArm, _Mapping]]] = ..., set_aside: _Optional[_Iterable[_Union[RolloutSetAside, _Mapping]]] = ..., shadow: _Optional[_Union[RolloutShadow, _Mapping]] = ..., file: _Optional[str] = ..., problem: _Optional[str] = ..., durable: bool = ..., labels: _Optional[_Iterable[_Union[RolloutLabel, _Mapping]]] = ..., state_problem: _Optional[str] = ...) -> None: ...

class RolloutSetAside(_message.Message):
    __slots__ = ["cause", "reason", "since_ms", "version"]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cause: str
    reason: str
    since_ms: int
    version: int
    def __init__(self, version: _Optional[int] = ..., cause: _Optional[str] = ..., reason: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class RolloutShadow(_message.Message):
    __slots__ = ["compute_ns", "flips", "max_difference", "nan_outputs", "problem", "rows", "skipped", "version"]
    COMPUTE_NS_FIELD_NUMBER: _ClassVar[int]
    FLIPS_FIELD_NUMBER: _ClassVar[int]
    MAX_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    NAN_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    compute_ns: int
    flips: int
    max_difference: float
    nan_outputs: int
    problem: str
    rows: int
    skipped: int
    version: int
    def __init__(self, version: _Optional[int] = ..., rows: _Optional[int] = ..., flips: _Optional[int] = ..., skipped: _Optional[int] = ..., nan_outputs: _Optional[int] = ..., max_difference: _Optional[float] = ..., compute_ns: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ServerInfoRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ServerInfoResponse(_message.Message):
    __slots__ = ["features", "isa", "limits", "name", "version"]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    isa: str
    limits: ServerLimits
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., isa: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[ServerLimits, _Mapping]] = ...) -> None: ...

class ServerLimits(_message.Message):
    __slots__ = ["answer_bytes_max", "calls_in_flight_max", "dimensions_max", "idle_ms", "other_calls_in_flight_max", "output_bytes_max", "output_names_max", "request_bytes_max", "routing_key_bytes_max", "rows_max", "tensors_max", "text_bytes_max"]
    ANSWER_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    CALLS_IN_FLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    OTHER_CALLS_IN_FLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAMES_MAX_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    ROWS_MAX_FIELD_NUMBER: _ClassVar[int]
    TENSORS_MAX_FIELD_NUMBER: _ClassVar[int]
    TEXT_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    answer_bytes_max: int
    calls_in_flight_max: int
    dimensions_max: int
    idle_ms: int
    other_calls_in_flight_max: int
    output_bytes_max: int
    output_names_max: int
    request_bytes_max: int
    routing_key_bytes_max: int
    rows_max: int
    tensors_max: int
    text_bytes_max: int
    def __init__(self, request_bytes_max: _Optional[int] = ..., answer_bytes_max: _Optional[int] = ..., rows_max: _Optional[int] = ..., calls_in_flight_max: _Optional[int] = ..., other_calls_in_flight_max: _Optional[int] = ..., tensors_max: _Optional[int] = ..., dimensions_max: _Optional[int] = ..., output_names_max: _Optional[int] = ..., routing_key_bytes_max: _Optional[int] = ..., text_bytes_max: _Optional[int] = ..., output_bytes_max: _Optional[int] = ..., idle_ms: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ["code", "detail", "message", "retry_after_us"]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_US_FIELD_NUMBER: _ClassVar[int]
    code: StatusCode
    detail: ErrorDetail
    message: str
    retry_after_us: int
    def __init__(self, code: _Optional[_Union[StatusCode, str]] = ..., message: _Optional[str] = ..., retry_after_us: _Optional[int] = ..., detail: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class StoreProblem(_message.Message):
    __slots__ = ["path", "reason"]
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    reason: str
    def __init__(self, path: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ["data", "name", "shape", "strings", "type"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    strings: _containers.RepeatedScalarFieldContainer[bytes]
    type: DataType
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., strings: _Optional[_Iterable[bytes]] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ["categories", "description", "name", "optional", "shape", "text", "type"]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    categories: _containers.RepeatedScalarFieldContainer[str]
    description: str
    name: str
    optional: bool
    shape: _containers.RepeatedScalarFieldContainer[int]
    text: bool
    type: DataType
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., categories: _Optional[_Iterable[str]] = ..., optional: bool = ..., description: _Optional[str] = ..., text: bool = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ["batch_rows", "compute_us", "queue_us"]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    batch_rows: int
    compute_us: int
    queue_us: int
    def __init__(self, queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., batch_rows: _Optional[int] = ...) -> None: ...

class ValueRules(_message.Message):
    __slots__ = ["decimal_comma", "missing", "thousands", "units"]
    DECIMAL_COMMA_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    THOUSANDS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    decimal_comma: bool
    missing: _containers.RepeatedScalarFieldContainer[str]
    thousands: ThousandsMark
    units: bool
    def __init__(self, missing: _Optional[_Iterable[str]] = ..., thousands: _Optional[_Union[ThousandsMark, str]] = ..., decimal_comma: bool = ..., units: bool = ...) -> None: ...

class VersionStatus(_message.Message):
    __slots__ = ["digest", "reason", "resident_bytes", "signer", "since_ms", "state", "traffic", "version"]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    digest: str
    reason: str
    resident_bytes: int
    signer: str
    since_ms: int
    state: VersionState
    traffic: VersionTraffic
    version: int
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., reason: _Optional[str] = ..., digest: _Optional[str] = ..., signer: _Optional[str] = ..., since_ms: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., traffic: _Optional[_Union[VersionTraffic, _Mapping]] = ...) -> None: ...

class VersionTraffic(_message.Message):
    __slots__ = ["failed", "p50_us", "p99_us", "recent_failed", "recent_requests", "recent_rows", "requests", "rows", "share_ppm", "window_ms"]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    P50_US_FIELD_NUMBER: _ClassVar[int]
    P99_US_FIELD_NUMBER: _ClassVar[int]
    RECENT_FAILED_FIELD_NUMBER: _ClassVar[int]
    RECENT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RECENT_ROWS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    failed: int
    p50_us: int
    p99_us: int
    recent_failed: int
    recent_requests: int
    recent_rows: int
    requests: int
    rows: int
    share_ppm: int
    window_ms: int
    def __init__(self, requests: _Optional[int] = ..., failed: _Optional[int] = ..., rows: _Optional[int] = ..., recent_requests: _Optional[int] = ..., recent_failed: _Optional[int] = ..., recent_rows: _Optional[int] = ..., window_ms: _Optional[int] = ..., share_ppm: _Optional[int] = ..., p50_us: _Optional[int] = ..., p99_us: _Optional[int] = ...) -> None: ...

class StatusCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class VersionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ThousandsMark(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class RolloutAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

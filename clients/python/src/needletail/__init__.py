"""Client of the Needletail inference server.

::

    import needletail, numpy as np

    with needletail.Client("127.0.0.1:6470") as client:
        answer = client.predict("digits", np.zeros((1, 64), dtype=np.float32), timeout=0.005)
        print(answer.version, answer.label, answer["probabilities"])

:class:`Client` blocks and is for any number of threads, :class:`AsyncClient` is for asyncio.
Both know the same calls: ``predict``, ``health``, ``models``, ``describe``, ``metrics``, ``server_info`` and
``feedback``.
:func:`load` opens a bundle in this process, without a server.
"""

from ._feedback import FeedbackReport, Outcome, OutcomeProblem
from ._predict import ExtraColumns
from ._settings import TLS
from ._version import __version__
from .aio import AsyncClient
from .client import Client
from .embedded import Model, load
from .errors import (
    BundleRefused,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    ErrorDetail,
    ExceededLimit,
    InternalError,
    InvalidArgument,
    NeedletailError,
    NotFound,
    Overloaded,
    PermissionDenied,
    PoolExhausted,
    ProtocolError,
    StatusCode,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from .results import (
    Answer,
    Entity,
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
from .retry import RetryPolicy

__all__ = [
    "Answer",
    "AsyncClient",
    "BundleRefused",
    "Client",
    "ConnectionFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "Entity",
    "ErrorDetail",
    "ExceededLimit",
    "ExtraColumns",
    "FeedbackReport",
    "Health",
    "InternalError",
    "InvalidArgument",
    "Model",
    "ModelDescription",
    "ModelList",
    "ModelStatus",
    "NeedletailError",
    "NotFound",
    "Outcome",
    "OutcomeProblem",
    "Overloaded",
    "PermissionDenied",
    "PoolExhausted",
    "Prediction",
    "ProtocolError",
    "RetryPolicy",
    "ServerInfo",
    "ServerLimits",
    "StatusCode",
    "StoreProblem",
    "TLS",
    "TensorSpec",
    "Timing",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionStatus",
    "__version__",
    "load",
]

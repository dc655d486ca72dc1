"""Python client of Attendant, the inference server for attention models.

from attendant import Client

with Client("127.0.0.1:8001") as client:
    result = client.classify("areas", "Returns the mean of the array.", attention=True)
    print(result[0].best, result[0].attention[0].weights.shape)
"""

from attendant.async_client import AsyncClient
from attendant.attend import Attended, AttendResult
from attendant.attention import Attention, AttentionMap, Axis, Cells, Reduction, Token, Tokens
from attendant.classify import Classification, ClassifyResult, Label
from attendant.client import Client
from attendant.common import Input, ModelVersion, Timing, Truncation, TruncationReport
from attendant.errors import (
    AccessDenied,
    AttendantError,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotSupported,
    Overloaded,
    ServerError,
    TooLarge,
    Unavailable,
    Unreachable,
)
from attendant.generate import (
    Decoding,
    GeneratedSequence,
    GeneratedToken,
    GenerateResult,
    Generation,
    GenerationTiming,
    TokenProbability,
)
from attendant.generate_stream import GenerationEnd, GenerationStart, Increment
from attendant.health import Health
from attendant.words import WordWeight, word_weights

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "AttendResult",
    "AttendantError",
    "Attended",
    "Attention",
    "AttentionMap",
    "Axis",
    "Cancelled",
    "Cells",
    "Classification",
    "ClassifyResult",
    "Client",
    "DeadlineExceeded",
    "Decoding",
    "GenerateResult",
    "GeneratedSequence",
    "GeneratedToken",
    "Generation",
    "GenerationEnd",
    "GenerationStart",
    "GenerationTiming",
    "Health",
    "Increment",
    "Input",
    "InvalidInput",
    "Label",
    "ModelVersion",
    "NotFound",
    "NotSupported",
    "Overloaded",
    "Reduction",
    "ServerError",
    "Timing",
    "Token",
    "TokenProbability",
    "Tokens",
    "TooLarge",
    "Truncation",
    "TruncationReport",
    "Unavailable",
    "Unreachable",
    "WordWeight",
    "word_weights",
]

"""The client that blocks; `attendant.async_client` is its twin for asyncio."""

import time
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc

from attendant.attend import DEFAULT_MECHANISM, AttendResult, Parameters, Vectors, attend_call
from attendant.attention import Attention
from attendant.channel import DEFAULT_ADDRESS, ChannelOption, Connection
from attendant.classify import ClassifyResult, classify_call
from attendant.common import Input, Truncation, read_inputs
from attendant.errors import AttendantError
from attendant.generate import Decoding, GenerateResult, generate_call
from attendant.generate_stream import Increment, generate_stream_call
from attendant.health import Health, ReadyWait, health_call
from attendant.transport import Transport


class Client:
    """Calls an Attendant server and waits for its answers; safe to share between threads.

    Every call has a deadline, `timeout_s` unless the call gives its own; it covers the retries. Only UNAVAILABLE is
    retried, at most `retries` times (0 to 4). Without `tls` the connection is plain text. `channel_options` are gRPC's
    own and win over this client's. All errors of calls are `AttendantError`s.
    Raises ValueError for a number out of its range.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 10.0,
        retries: int = 3,
        tls: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = 64 * 1024**2,
        channel_options: Sequence[ChannelOption] = (),
    ) -> None:
        self._transport = Transport(Connection(address, timeout_s, retries, tls, max_message_bytes, channel_options))

    def classify(
        self,
        model: str,
        inputs: Input | Sequence[Input],
        *,
        version: int | None = None,
        alias: str | None = None,
        top_k: int = 0,
        score_threshold: float = 0.0,
        truncation: Truncation = "refuse",
        attention: bool | Attention | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> ClassifyResult:
        """Finds the labels that fit each input: a text (str), an image file's bytes, or its path.

        `top_k` bounds the labels of each input, 0 for all. `attention=True` returns one mean map per attention of the
        model; an `Attention` chooses. Without `version` or `alias` the server takes `stable`, or the latest version.
        Raises ValueError for arguments that the wire cannot carry, OSError for an unreadable file, AttendantError.
        """
        call = classify_call(
            model,
            read_inputs(inputs),
            version=version,
            alias=alias,
            top_k=top_k,
            score_threshold=score_threshold,
            truncation=truncation,
            attention=attention,
            request_id=request_id,
        )
        return self._transport.run(call, timeout_s)

    def generate(
        self,
        model: str,
        inputs: Input | Sequence[Input],
        *,
        prefix: str | Sequence[str] = "",
        version: int | None = None,
        alias: str | None = None,
        truncation: Truncation = "refuse",
        attention: bool | Attention | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **decoding: Unpack[Decoding],
    ) -> GenerateResult:
        """Writes a text for each input: a text (str), an image file's bytes, or its path.

        `prefix` is a beginning that is forced on what is written, one for all inputs or one each. `decoding` is
        `max_tokens`, `temperature`, `num_beams` and whatever else `Decoding` has; without any it is greedy.
        `attention=True` returns the mean over layers and heads of each map; an `Attention` chooses.
        Raises ValueError for arguments that the wire cannot carry, OSError for an unreadable file, AttendantError.
        """
        call = generate_call(
            model,
            read_inputs(inputs),
            prefix=prefix,
            version=version,
            alias=alias,
            truncation=truncation,
            attention=attention,
            request_id=request_id,
            **decoding,
        )
        return self._transport.run(call, timeout_s)

    def generate_stream(
        self,
        model: str,
        content: Input,
        *,
        prefix: str = "",
        version: int | None = None,
        alias: str | None = None,
        truncation: Truncation = "refuse",
        attention: bool | Attention | None = None,
        whole_attention: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **decoding: Unpack[Decoding],
    ) -> Generator[Increment, None, None]:
        """Writes a text for one input and gives it as it comes: the call begins with the first increment asked for.

        The first increment has no text but `start`, the last has `end`. Attention comes with its tokens, and with
        `whole_attention` once more at the end. To stop early, close the generator, or leave a `for` loop over it.
        `timeout_s` is for the whole text. Raises as `generate`.
        """
        call = generate_stream_call(
            model,
            *read_inputs([content]),
            prefix=prefix,
            version=version,
            alias=alias,
            truncation=truncation,
            attention=attention,
            whole_attention=whole_attention,
            request_id=request_id,
            **decoding,
        )
        return self._transport.stream(call, timeout_s)

    def attend(
        self,
        query: Vectors,
        key: Vectors,
        value: Vectors,
        mask: Vectors | None = None,
        *,
        model: str = DEFAULT_MECHANISM,
        parameters: Parameters | None = None,
        version: int | None = None,
        alias: str | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> AttendResult:
        """Attends by itself: query [queries, width], key [keys, width], value [keys, width], mask [queries, keys].

        A sequence of such arrays asks for several inputs at once, each of its own size. `mask` is bool, True may
        attend; a query with no key to attend to gets zeros. `parameters` are those of the mechanism's formula, by the
        names of the model's inputs, for all inputs alike.
        Raises ValueError for what is no array of numbers or a mask that is not bool, AttendantError.
        """
        call = attend_call(
            query,
            key,
            value,
            mask,
            model=model,
            parameters=parameters,
            version=version,
            alias=alias,
            request_id=request_id,
        )
        return self._transport.run(call, timeout_s)

    def health(self, model: str = "", *, timeout_s: float | None = None) -> Health:
        """Whether a model, or the whole server where `model` is empty, takes requests.

        Raises NotFound for a model that the server does not know, AttendantError.
        """
        return self._transport.run(health_call(model), timeout_s)

    def wait_ready(self, model: str = "", *, timeout_s: float = 30.0) -> None:
        """Returns as soon as the model, or the whole server where `model` is empty, takes requests.

        Raises DeadlineExceeded when it does not within `timeout_s`, AttendantError.
        """
        wait = ReadyWait(model, timeout_s)
        while (pause_s := wait.saw(self._look(wait))) is not None:
            time.sleep(pause_s)

    def _look(self, wait: ReadyWait) -> Health | AttendantError:
        try:
            return self._transport.run(wait.call, wait.remaining_s)
        except AttendantError as error:
            return error

    def close(self) -> None:
        """Closes the connection; running calls are cancelled."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

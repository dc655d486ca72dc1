"""The client for asyncio, the twin of `attendant.client.Client`: the same arguments, methods and errors."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
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
from attendant.transport import AsyncTransport


class AsyncClient:
    """The asyncio twin of `Client`: the same arguments, methods and errors; use it from one event loop.

    Cancelling the task that waits cancels the call, at the server too.
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
        self._transport = AsyncTransport(
            Connection(address, timeout_s, retries, tls, max_message_bytes, channel_options)
        )

    async def classify(
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
        """As `Client.classify`; files are read off the event loop."""
        call = classify_call(
            model,
            await _read_off_loop(inputs),
            version=version,
            alias=alias,
            top_k=top_k,
            score_threshold=score_threshold,
            truncation=truncation,
            attention=attention,
            request_id=request_id,
        )
        return await self._transport.run(call, timeout_s)

    async def generate(
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
        """As `Client.generate`; files are read off the event loop."""
        call = generate_call(
            model,
            await _read_off_loop(inputs),
            prefix=prefix,
            version=version,
            alias=alias,
            truncation=truncation,
            attention=attention,
            request_id=request_id,
            **decoding,
        )
        return await self._transport.run(call, timeout_s)

    async def generate_stream(
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
    ) -> AsyncGenerator[Increment, None]:
        """As `Client.generate_stream`; a loop that is left early does not close the generator at once: `aclosing` does.

        Cancelling the task that waits cancels the call.
        """
        call = generate_stream_call(
            model,
            *await _read_off_loop([content]),
            prefix=prefix,
            version=version,
            alias=alias,
            truncation=truncation,
            attention=attention,
            whole_attention=whole_attention,
            request_id=request_id,
            **decoding,
        )
        async with aclosing(self._transport.stream(call, timeout_s)) as increments:
            async for increment in increments:
                yield increment

    async def attend(
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
        """As `Client.attend`."""
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
        return await self._transport.run(call, timeout_s)

    async def health(self, model: str = "", *, timeout_s: float | None = None) -> Health:
        """As `Client.health`."""
        return await self._transport.run(health_call(model), timeout_s)

    async def wait_ready(self, model: str = "", *, timeout_s: float = 30.0) -> None:
        """As `Client.wait_ready`."""
        wait = ReadyWait(model, timeout_s)
        # The state lies at the server: there is no event here to await.
        while (pause_s := wait.saw(await self._look(wait))) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pause_s)

    async def _look(self, wait: ReadyWait) -> Health | AttendantError:
        try:
            return await self._transport.run(wait.call, wait.remaining_s)
        except AttendantError as error:
            return error

    async def close(self) -> None:
        """As `Client.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _read_off_loop(inputs: Input | Sequence[Input]) -> list[str | bytes]:
    if isinstance(inputs, Path) or (not isinstance(inputs, str | bytes) and any(isinstance(i, Path) for i in inputs)):
        return await asyncio.to_thread(read_inputs, inputs)
    return read_inputs(inputs)

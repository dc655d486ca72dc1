"""Every setting of the server, as one frozen tree; the only module that reads the environment.

A setting is found, first match wins, as a flag (`--batching.max-queue-rows 512`), as an environment variable
(`ATTENDANT_BATCHING__MAX_QUEUE_ROWS=512`), or as the default below. Per-model tuning stands in the manifest;
what is set here is per deployment and wins.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.manifest import Precision

PREFIX = "ATTENDANT_"
EVERY_HOST = ("0.0.0.0", "::")  # noqa: S104
"""The addresses that stand for all interfaces."""
Port = Annotated[int, Field(ge=0, le=65535)]
PolicyText = Annotated[str, Field(pattern=r"^(all|latest:[1-9]\d*|specific:[1-9]\d*(,[1-9]\d*)*)$")]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GrpcSettings(_Group):
    """The gRPC port."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all interfaces, as the container image sets it."""
    port: Port = 8001
    """The port of all gRPC services; 0 takes a free one and logs it."""
    max_message_bytes: int = Field(default=64 * 1024**2, ge=1024, le=2**31 - 1)
    """The largest message received; a larger one is refused by the gRPC library with RESOURCE_EXHAUSTED."""
    max_concurrent_rpcs: int = Field(default=4096, ge=1)
    """Calls in flight at once; further ones are refused by the gRPC library with RESOURCE_EXHAUSTED."""
    max_stream_requests: int = Field(default=64, ge=1, le=65536)
    """Requests of one stream that are worked on at once; further ones are left unread until an answer is written."""
    drain_grace_s: float = Field(default=30.0, ge=0, le=3600)
    """After a signal to stop: seconds in which running requests may finish before they are cancelled."""


class StoreSettings(_Group):
    """Where models come from and which versions are served."""

    path: Path = Path("store")
    """The model store: <path>/<model>/<version>/."""
    control: Literal["none", "poll", "explicit"] = "poll"
    """none: load once at start; poll: also follow the store; explicit: load and unload by RPC only."""
    poll_s: float = Field(default=2.0, gt=0, le=3600)
    """Seconds between two looks at the store in `poll` mode."""
    models: tuple[str, ...] = ()
    """In `explicit` mode: the models to load at start; in the others: the only ones to serve, empty for all."""
    version_policy: PolicyText = "latest:1"
    """Which versions to serve: `latest:N`, `all`, or `specific:1,3`; a version with an alias is always served."""
    version_policies: Mapping[str, PolicyText] = Field(default_factory=dict)
    """Version policies of single models, by name, as a JSON object; they win over `version_policy`."""


class BatchingSettings(_Group):
    """The queue and the batches."""

    max_queue_rows: int = Field(default=2048, ge=1, le=1_000_000)
    """Rows that may wait per model version; a request that would exceed it is refused with QUEUE_FULL."""
    max_batch_rows: int = Field(default=256, ge=1, le=65536)
    """The most rows that run together, and the most rows of one tensor request; a manifest may ask for fewer."""
    max_batch_tokens: int = Field(default=4096, ge=1)
    """The most padded tokens that run together, except for one request alone."""
    max_age_s: float = Field(default=1.0, gt=0, le=3600)
    """A request that has waited this long goes next, whatever its priority and whatever would run better."""
    enabled: bool = True
    """False runs every request alone."""


class GenerationSettings(_Group):
    """Models that write token by token."""

    max_rows: int = Field(default=64, ge=1, le=4096)
    """Slots per model version: rows that are in the running batch at once; beam search takes one a beam."""
    max_state_bytes: int = Field(default=2 * 1024**3, ge=1024**2)
    """The most bytes of a model version's state buffers; what would exceed it waits until slots are free."""
    max_waiting: int = Field(default=1024, ge=1, le=1_000_000)
    """Generations that may wait per model version; a further one is refused with QUEUE_FULL."""
    prefill_tokens: int = Field(default=256, ge=1, le=65536)
    """The most prompt tokens of one run between two decoding steps: more of them hold up the texts being written."""
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    """The most new tokens that a request may ask for; a model that takes fewer positions allows fewer."""
    stream_buffer: int = Field(default=64, ge=1, le=65536)
    """Increments of a stream that may be unread before its row is paused: it keeps its slot and is not stepped."""
    max_pause_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds that a row may be paused; then its generation ends with READER_TOO_SLOW."""
    turn_s: float = Field(default=0.05, ge=0, le=1)
    """Seconds of steps in one go, unless somebody is to join or be heard, or others wait; 0 looks around after each."""
    static: bool = False
    """True lets nothing join until the longest text of a batch is written, and computes all rows until then; only for
    comparison."""


class RuntimeSettings(_Group):
    """ONNX Runtime sessions and the cores they run on."""

    cores: int = Field(default=0, ge=0, le=1024)
    """Cores to plan for; 0 takes the smaller of the cgroup's quota and the affinity mask."""
    intra_op_threads: int = Field(default=0, ge=0, le=1024)
    """Threads of one run; 0 measures at load whether a model does more in runs of one thread or of all cores."""
    precision: Literal["manifest", "fp32", "bf16", "int8"] = "manifest"
    """What answers a request that asks for no precision; `manifest` leaves it to each model, and most say fp32."""
    request_precisions: tuple[Precision, ...] = ()
    """Further precisions that a request may ask for, as a JSON list; each takes memory of its own."""
    provider: Literal["auto", "cpu", "openvino", "cuda"] = "auto"
    """ONNX Runtime's execution provider; `auto` takes OpenVINO for bf16 and the CPU provider for the rest."""
    calibration_s: float = Field(default=6.0, ge=0, le=600)
    """Seconds that measuring a version's costs may take at load; 0 measures nothing and decides by rough figures."""
    cache_dir: Path | None = None
    """Where measured costs are kept between starts, by graph, processor and threads; unset measures at each load."""
    replay_golden: bool = True
    """Replay the bundle's golden inputs at load and refuse a version that answers differently on this host."""
    load_threads: int = Field(default=1, ge=1, le=64)
    """Versions that load at the same time."""


class SecuritySettings(_Group):
    """Bounds on what a caller controls."""

    max_inputs: int = Field(default=256, ge=1)
    """The most inputs of one task-shaped call such as Classify."""
    max_text_bytes: int = Field(default=1024**2, ge=1)
    """The most UTF-8 bytes of one text, before it is tokenized."""
    max_image_pixels: int = Field(default=16 * 1024**2, ge=1)
    """The most pixels of one image, checked from its header before it is decoded."""
    max_tensor_bytes: int = Field(default=64 * 1024**2, ge=1)
    """The most bytes of one input tensor, and of what optional inputs are filled up to."""
    max_attention_bytes: int = Field(default=8 * 1024**2, ge=1)
    """The most bytes of attention weights in one reply."""
    max_bundle_bytes: int = Field(default=16 * 1024**3, ge=1)
    """The most bytes of one version's files; larger ones are refused unread."""
    system_shared_memory: bool = False
    """True lets callers on this machine register POSIX shared memory for tensors; trust every caller of the port."""
    shared_memory_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,128}$")] = ""
    """Shared memory objects that callers may register: those whose names begin so; empty for all."""
    max_shared_memory_regions: int = Field(default=64, ge=1, le=4096)
    """Regions of shared memory that may be registered at once; each takes a file descriptor."""
    max_shared_memory_bytes: int = Field(default=1024**3, ge=1)
    """The most bytes of all registered regions together: pages first written by the server count as its memory."""
    log_control: bool = False
    """True lets callers switch log level and format by LogSettings: a caller could silence or flood the log."""


class TelemetrySettings(_Group):
    """Metrics and logs."""

    metrics_host: str = "127.0.0.1"
    """The address of the metrics port; 0.0.0.0 for all interfaces, as the container image sets it."""
    metrics_port: Port = 8002
    """The port of /metrics, /livez and /readyz; 0 takes a free one and logs it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """json: one object a line; text: for reading at a terminal."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        use_attribute_docstrings=True,
    )

    grpc: GrpcSettings = GrpcSettings()
    """The gRPC port."""
    store: StoreSettings = StoreSettings()
    """Where models come from and which versions are served."""
    batching: BatchingSettings = BatchingSettings()
    """The queue and the batches."""
    generation: GenerationSettings = GenerationSettings()
    """Models that write token by token."""
    runtime: RuntimeSettings = RuntimeSettings()
    """ONNX Runtime sessions and the cores they run on."""
    security: SecuritySettings = SecuritySettings()
    """Bounds on what a caller controls."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Metrics and logs."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        """The second to listen would say no more than that a port is in use."""
        hosts = {self.grpc.host, self.telemetry.metrics_host}
        if self.grpc.port == self.telemetry.metrics_port != 0 and (len(hosts) == 1 or hosts & set(EVERY_HOST)):
            raise ValueError(
                f"grpc.port and telemetry.metrics_port are both {self.grpc.port}; each needs a port of its own"
            )
        return self


def told_settings(settings: BaseModel, prefix: str = "") -> dict[str, str]:
    """Every setting by its dotted name, as text; of a secret only whether it is `set` or `unset`."""
    told: dict[str, str] = {}
    for name, value in settings:
        if isinstance(value, BaseModel):
            told |= told_settings(value, f"{prefix}{name}.")
        elif isinstance(value, SecretStr):
            told[prefix + name] = "set" if value.get_secret_value() else "unset"
        elif isinstance(value, str | Path):
            told[prefix + name] = str(value)
        else:
            told[prefix + name] = json.dumps(dict(value) if isinstance(value, Mapping) else value, default=str)
    return told


def load_settings(arguments: Sequence[str] = (), program: str = "python -m server serve") -> Settings:
    """Reads flags over environment over defaults; `--help` prints every setting and exits.

    Raises pydantic.ValidationError where a value does not fit.
    """
    return Settings(_cli_parse_args=list(arguments), _cli_prog_name=program)


def unknown_variables() -> tuple[list[str], list[str]]:
    """The prefixed environment variables that name no setting: (those to refuse, those to warn of).

    Only a name with `__` can be a mistyped setting; the rest may be Kubernetes' own variables for a Service
    called `attendant` (ATTENDANT_PORT and the like), which must not keep the server from starting.
    """
    known = {
        f"{PREFIX}{group}__{field}".upper()
        for group, info in Settings.model_fields.items()
        for field in getattr(info.annotation, "model_fields", {})
    } | {f"{PREFIX}{group}".upper() for group in Settings.model_fields}
    strange = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [name for name in strange if "__" in name], [name for name in strange if "__" not in name]

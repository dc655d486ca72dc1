"""Models that are plain numpy functions behind the real registry, admission, scheduler and codecs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from server.batching.collate import PaddedRows
from server.batching.cost import ROUGH, Cost
from server.batching.observer import BatchRecord
from server.batching.scheduler import Scheduler
from server.batching.servable import Batched
from server.batching.variant import Variant
from server.batching.workers import WorkerThreads
from server.clock import MonotonicClock
from server.codecs import Codec, build_codec
from server.loading.loaded import LoadedVersion
from server.manifest import (
    AttentionSpec,
    CellAxis,
    FixedAxis,
    GraphSpec,
    ImageCodecSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputSpec,
    RowAxis,
    TextCodecSpec,
    TokenAxis,
)
from server.registry import Registry
from server.rpc.server import RpcServer
from server.runtime.budget import CoreBudget
from server.runtime.session import Session
from server.servable import Servable
from server.settings import Settings
from server.store.bundle import Bundle
from server.store.scan import ModelFolder, Stamp, StoreSnapshot
from server.tensors import Array, Datatype

Function = Callable[[Mapping[str, Array]], Mapping[str, Array]]

ROW, LENGTH = RowAxis(), LengthAxis()
GRAPH = GraphSpec(file="model.onnx", opset=20)
WORDS = ["[UNK]", "a", "b", "c", "d", "e", "f", "g", "h"]
"""The text model's vocabulary; ids are positions."""
LABELS = ("zero", "one", "two")


@dataclass(frozen=True)
class FakeModel:
    """One version of one model."""

    manifest: Manifest
    function: Function
    labels: tuple[str, ...] = ()
    version: int = 1
    aliases: tuple[str, ...] = ()


@dataclass
class FunctionSession:
    """A session whose graph is a function."""

    function: Function
    provider: str = "CPUExecutionProvider"

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, stop: object = None
    ) -> dict[str, Array]:
        found = self.function(inputs)
        return {name: found[name] for name in outputs or found}

    def close(self) -> None:
        pass


@dataclass
class Ledger:
    """Keeps everything that the server tells its observers."""

    calls: list[tuple[str, str, int, str]] = field(default_factory=list)
    """(method, model, version, reason) of each finished call."""
    dropped: list[str] = field(default_factory=list)
    batches: list[BatchRecord] = field(default_factory=list)
    attention: list[tuple[str, int]] = field(default_factory=list)

    def request_finished(
        self, service: str, method: str, model: str, version: int, reason: str, request_s: float
    ) -> None:
        assert service
        assert request_s >= 0
        self.calls.append((method, model, version, reason))

    def attention_requested(self, model: str, version: int) -> None:
        self.attention.append((model, version))

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        self.dropped.append(reason)

    def batch_ran(self, record: BatchRecord) -> None:
        self.batches.append(record)

    def version_loaded(self, model: str, version: int, seconds: float) -> None:
        pass

    def version_refused(self, model: str, version: int, reason: str) -> None:
        pass

    def version_unloaded(self, model: str, version: int) -> None:
        pass


@dataclass
class Served:
    """A server under test."""

    address: str
    registry: Registry
    rpc: RpcServer
    ledger: Ledger


@asynccontextmanager
async def serving_fakes(
    models: Sequence[FakeModel],
    directory: Path,
    settings: Settings | None = None,
    write: Callable[[LoadedVersion, Executor], Servable] | None = None,
) -> AsyncIterator[Served]:
    """Serves the models over real gRPC on a free port; `directory` takes the tokenizer.

    `write` serves those whose manifests say that they write.
    """
    settings = settings or make_settings()
    ledger, clock = Ledger(), MonotonicClock()
    with ThreadPoolExecutor(2) as executor:
        runs = WorkerThreads(2)
        scheduler = Scheduler(runs, CoreBudget(2), clock, ledger, max_age_s=settings.batching.max_age_s)
        registry = fake_registry(
            models,
            directory,
            settings,
            ledger,
            lambda one: (
                write(one, executor)
                if write is not None and one.bundle.manifest.generation is not None
                else Batched(one, scheduler, executor, clock, settings.batching)
            ),
        )
        await registry.start()
        rpc = RpcServer(registry, settings, ledger, clock)
        port = await rpc.start()
        try:
            yield Served(f"127.0.0.1:{port}", registry, rpc, ledger)
        finally:
            await rpc.stop()
            await registry.close()
            runs.close()


def fake_registry(
    models: Sequence[FakeModel],
    directory: Path,
    settings: Settings,
    observer: Ledger,
    serve: Callable[[LoadedVersion], Servable],
) -> Registry:
    """The real registry over a store that exists in memory only."""
    write_tokenizer(directory / "tokenizer.json")
    by_key = {(model.manifest.name, model.version): model for model in models}
    folders = {
        name: ModelFolder(
            versions={version: Stamp("", has_manifest=True) for owner, version in sorted(by_key) if owner == name},
            aliases={alias: version for (owner, version), m in by_key.items() if owner == name for alias in m.aliases},
        )
        for name in {owner for owner, _ in by_key}
    }

    def load(name: str, version: int) -> "asyncio.Future[tuple[LoadedVersion, float]]":
        model = by_key[name, version]
        bundle = Bundle(
            name, version, directory, model.manifest, model.labels, verified=True, graph_directory=directory
        )
        codec = build_codec(model.manifest.codec, directory) if model.manifest.codec else None
        done: asyncio.Future[tuple[LoadedVersion, float]] = asyncio.get_running_loop().create_future()
        done.set_result((fake_version(bundle, FunctionSession(model.function), codec), 0.0))
        return done

    return Registry(lambda: StoreSnapshot(folders), load, serve, settings.store, observer)


def fake_version(bundle: Bundle, session: FunctionSession, codec: Codec | None = None) -> LoadedVersion:
    """A version of one variant in rows, of rough costs."""
    manifest = bundle.manifest
    names = [spec.name for spec in manifest.outputs]
    variant = Variant(
        layout=PaddedRows(manifest.inputs, manifest.outputs),
        precision="fp32",
        run=session.run,
        outputs=frozenset(names),
        usual_outputs=tuple(names),
        cost=Cost(ROUGH),
        provider=session.provider,
    )
    return LoadedVersion(
        bundle,
        codec,
        (variant,),
        (cast(Session, session),),
        "fp32",
        together=manifest.batched and manifest.batching.invariant,
    )


def make_settings(**groups: Mapping[str, Any]) -> Settings:
    """Settings with a free port, no environment, and no measuring of costs at load."""
    grpc = {"port": 0, **groups.pop("grpc", {})}
    store = {"version_policy": "all", **groups.pop("store", {})}
    runtime = {"calibration_s": 0, **groups.pop("runtime", {})}
    return Settings(grpc=grpc, store=store, runtime=runtime, **groups)


def write_tokenizer(path: Path) -> None:
    words = WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[0])
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))


# --- models -------------------------------------------------------------------------------------------------------


def echo_model(datatype: Datatype, name: str = "") -> FakeModel:
    """[row, length] of one datatype back unchanged, under another name."""
    manifest = Manifest(
        name=name or f"echo_{datatype.value.lower()}",
        task="tensors",
        graphs=(GRAPH,),
        inputs=(InputSpec(name="x", datatype=datatype, axes=(ROW, LENGTH), pad=0),),
        outputs=(OutputSpec(name="y", datatype=datatype, axes=(ROW, LENGTH)),),
    )
    return FakeModel(manifest, lambda inputs: {"y": inputs["x"]})


def text_model(name: str = "areas", version: int = 1, aliases: tuple[str, ...] = ()) -> FakeModel:
    """Classifies by counting words: the logit of class c is the number of ids with remainder c; two layers, two heads.

    The weight of a key is in proportion to its id plus layer plus head plus one, whatever the query.
    """
    axes = (ROW, FixedAxis(size=2), LENGTH, LENGTH)
    manifest = Manifest(
        name=name,
        task="text-classification",
        graphs=(GRAPH,),
        inputs=(
            InputSpec(name="input_ids", datatype=Datatype.INT64, axes=(ROW, LengthAxis(max=16))),
            InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), role="mask", pad=False, optional=True),
        ),
        outputs=(
            OutputSpec(name="logits", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=3)), role="logits"),
            OutputSpec(name="hidden", datatype=Datatype.FP32, axes=(ROW, LENGTH)),
            *(OutputSpec(name=f"attention_{n}", datatype=Datatype.FP32, axes=axes, role="attention") for n in (0, 1)),
        ),
        attention=(
            AttentionSpec(
                name="encoder",
                mechanism="multi-head self-attention",
                outputs=("attention_0", "attention_1"),
                query=TokenAxis(),
                key=TokenAxis(),
            ),
        ),
        codec=TextCodecSpec(max_length=16, input_ids="input_ids", mask="mask"),
        labels="labels.json",
    )
    return FakeModel(manifest, _classify_ids, LABELS, version, aliases)


def _classify_ids(inputs: Mapping[str, Array]) -> dict[str, Array]:
    ids, mask = inputs["input_ids"].astype(np.int64), inputs["mask"].astype(np.bool_)
    logits = np.stack([((ids % 3 == c) & mask).sum(axis=1) for c in range(3)], axis=1).astype(np.float32)
    outputs: dict[str, Array] = {"logits": logits, "hidden": (ids * mask).astype(np.float32)}
    for layer in (0, 1):
        heads = [(ids + layer + head + 1) * mask for head in (0, 1)]
        weights = np.stack([head / head.sum(axis=1, keepdims=True) for head in heads], axis=1)
        outputs[f"attention_{layer}"] = np.repeat(weights[:, :, None, :], ids.shape[1], axis=2).astype(np.float32)
    return outputs


def image_model(name: str = "digits") -> FakeModel:
    """Classifies 4x4 grey images by brightness into dark, light; attention over 2x2 cells is even."""
    cells = CellAxis(rows=2, columns=2)
    manifest = Manifest(
        name=name,
        task="image-classification",
        graphs=(GRAPH,),
        inputs=(
            InputSpec(
                name="pixels",
                datatype=Datatype.FP32,
                axes=(ROW, FixedAxis(size=1), FixedAxis(size=4), FixedAxis(size=4)),
            ),
        ),
        outputs=(
            OutputSpec(
                name="probabilities", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=2)), role="probabilities"
            ),
            OutputSpec(
                name="attention",
                datatype=Datatype.FP32,
                axes=(ROW, FixedAxis(size=1), FixedAxis(size=4), FixedAxis(size=4)),
                role="attention",
            ),
        ),
        attention=(
            AttentionSpec(
                name="spatial", mechanism="2-D self-attention", outputs=("attention",), query=cells, key=cells
            ),
        ),
        codec=ImageCodecSpec(height=4, width=4, mode="L", pixels="pixels"),
    )

    def classify(inputs: Mapping[str, Array]) -> dict[str, Array]:
        light = inputs["pixels"].astype(np.float32).mean(axis=(1, 2, 3))
        even = np.full((len(light), 1, 4, 4), 0.25, dtype=np.float32)
        return {"probabilities": np.stack([1 - light, light], axis=1), "attention": even}

    return FakeModel(manifest, classify)


def scoreless_model() -> FakeModel:
    """A text model that is no classifier."""
    areas = text_model().manifest
    manifest = areas.model_copy(update={"name": "embedder", "task": "embedding"})
    return FakeModel(manifest, _classify_ids)


def failing_model() -> FakeModel:
    """Fails on every input, with a text that no caller must see."""

    def fail(_: Mapping[str, Array]) -> dict[str, Array]:
        raise RuntimeError("secret: /store/failing/1")

    return FakeModel(echo_model(Datatype.FP32, "failing").manifest, fail)


@dataclass
class GatedModel:
    """Echoes once its gate is open; `entered` is set when a run has begun."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def model(self) -> FakeModel:
        return FakeModel(echo_model(Datatype.FP32, "gated").manifest, self._run)

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(timeout=60)
        return {"y": inputs["x"]}

"""A published version that cannot be trusted, put in the place of a good one under a server that runs."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest

from server.wire import grpc_service_pb2 as wire
from tests.support.bundles import publish_tiny
from tests.support.calls import INFERENCE, Caller, classify_request, refused
from tests.support.serving import Serving, serving

TEXT = "returns sorted rows of a matrix"

Damage = Callable[[Path], None]
"""Spoils a version folder; an `outside` folder lies two levels above it, out of the store."""


def flip(file: str) -> Damage:
    """Changes the last byte, which no size and no time of a copy would tell."""

    def damage(version: Path) -> None:
        content = bytearray((version / file).read_bytes())
        content[-1] ^= 1
        (version / file).write_bytes(content)

    return damage


def truncate(file: str) -> Damage:
    return lambda version: os.truncate(version / file, (version / file).stat().st_size // 2)


def remove(file: str) -> Damage:
    return lambda version: (version / file).unlink()


def link_out(file: str) -> Damage:
    """The same bytes, so that digests are right; but they lie where the store's owner does not watch."""

    def damage(version: Path) -> None:
        outside = outside_of(version) / file
        (version / file).rename(outside)
        (version / file).symlink_to(outside)

    return damage


def manifest(**changes: object) -> Damage:
    def damage(version: Path) -> None:
        path = version / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def garbage(file: str) -> Damage:
    return lambda version: (version / file).write_bytes(np.random.default_rng(0).bytes(2000))


def weights_outside(version: Path) -> None:
    """The graph's first weight lies outside the bundle; whoever signed it saw no harm in that."""
    model = onnx.load(version / "model.onnx")
    weight = model.graph.initializer[0]
    (outside_of(version) / "weight.bin").write_bytes(weight.raw_data)
    for key, value in (("location", "../../../outside/weight.bin"), ("length", str(len(weight.raw_data)))):
        weight.external_data.add(key=key, value=value)
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.ClearField("raw_data")
    sign(version, "model.onnx", model.SerializeToString())


def other_answers(version: Path) -> None:
    """Golden outputs that this host does not give."""
    with np.load(version / "golden.npz") as golden:
        arrays = {name: array + 1 if array.dtype == np.float32 else array for name, array in golden.items()}
    np.savez(version / "golden.npz", **arrays)
    sign(version, "golden.npz", (version / "golden.npz").read_bytes())


def sign(version: Path, file: str, content: bytes) -> None:
    """Writes a file and its right digest."""
    (version / file).write_bytes(content)
    path = version / "manifest.json"
    listed = json.loads(path.read_text())
    listed["files"][file] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(listed))


def outside_of(version: Path) -> Path:
    folder = version.parents[1] / "outside"
    folder.mkdir(exist_ok=True)
    return folder


DAMAGES = {
    "tampered graph": (flip("model.onnx"), "model.onnx differs from the digest"),
    "tampered tokenizer": (flip("tokenizer.json"), "tokenizer.json differs from the digest"),
    "tampered labels": (flip("labels.json"), "labels.json differs from the digest"),
    "tampered golden inputs": (flip("golden.npz"), "golden.npz differs from the digest"),
    "truncated graph": (truncate("model.onnx"), "model.onnx has"),
    "missing tokenizer": (remove("tokenizer.json"), "tokenizer.json"),
    "graph that links out of the store": (link_out("model.onnx"), "out of the store"),
    "manifest that links out of the store": (link_out("manifest.json"), "out of the store"),
    "external data outside": (weights_outside, "outside"),
    "future schema": (manifest(schema_version=2), "schema"),
    "manifest of another model": (manifest(name="digits"), "digits"),
    "manifest with an unknown field": (manifest(command="rm"), "command"),
    "manifest of random bytes": (garbage("manifest.json"), "manifest.json"),
    "truncated manifest": (truncate("manifest.json"), "manifest.json"),
    "other answers than were verified": (other_answers, "golden"),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    publish_tiny(tmp_path / "store", "areas")
    return tmp_path / "store"


def put(store: Path, version: int, damage: Damage = lambda _: None) -> None:
    """A copy of version 1, damaged, arrives whole: by a rename, as publishing does it."""
    staged = store.parent / "staged" / str(version)
    shutil.copytree(store / "areas" / "1", staged)
    damage(staged)
    staged.rename(store / "areas" / str(version))


async def index(caller: Caller) -> dict[str, tuple[str, str]]:
    reply = await caller.ask("RepositoryIndex", wire.RepositoryIndexRequest())
    return {model.version: (model.state, model.reason) for model in reply.models}


async def told(caller: Caller, version: str) -> tuple[str, str]:
    """State and reason of a version once the server has made up its mind about it."""
    async with asyncio.timeout(20):
        while True:
            state, reason = (await index(caller)).get(version, ("", "not loaded"))
            if state in ("READY", "UNAVAILABLE") and reason != "not loaded":
                return state, reason
            await asyncio.sleep(0.02)


async def scores(caller: Caller) -> list[tuple[str, float]]:
    reply = await caller.classify(classify_request("areas", TEXT))
    assert reply.model.version == 1
    return [(label.name, label.score) for label in reply.results[0].labels]


async def scrape(server: Serving) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.metrics_url.rsplit(":", 1)[1]))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return body


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_version_is_refused_with_its_reason_while_the_old_one_serves(store, damage):
    spoil, why = DAMAGES[damage]
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        before = await scores(caller)
        put(store, 2, spoil)
        state, reason = await told(caller, "2")
        assert state == "UNAVAILABLE"
        assert why in reason
        assert await scores(caller) == before
        assert (await index(caller))["1"] == ("READY", "")
        failures = 'attendant_model_load_failures_total{model="areas",reason="ARTIFACT_CORRUPT"} 1.0'
        assert failures in await scrape(server)
        request = classify_request("areas", TEXT)
        request.model.version = 2
        found = await refused(caller.classify(request))
        assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY")
        assert why in found.message


async def test_a_version_that_links_out_of_the_store_is_refused_with_its_reason(store):
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        before = await scores(caller)
        shutil.copytree(store / "areas" / "1", store.parent / "elsewhere")
        (store / "areas" / "2").symlink_to(store.parent / "elsewhere")
        state, reason = await told(caller, "2")
        assert state == "UNAVAILABLE"
        assert "out of the store" in reason
        assert await scores(caller) == before


async def test_a_model_that_links_out_of_the_store_does_not_exist(store):
    (store / "areas").rename(store.parent / "elsewhere")
    (store / "areas").symlink_to(store.parent / "elsewhere")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        found = await refused(caller.classify(classify_request("areas", TEXT)))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
        assert await index(caller) == {}


async def test_at_start_a_damaged_latest_version_falls_back_to_the_one_before(store):
    put(store, 2, flip("model.onnx"))
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        assert await scores(caller)
        states = await index(caller)
        assert (states["1"], states["2"][0]) == (("READY", ""), "UNAVAILABLE")


async def test_tampering_with_the_version_that_serves_changes_no_answer(store):
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        before = await scores(caller)
        flip("model.onnx")(store / "areas" / "1")
        await server.application.registry.refresh()
        assert await scores(caller) == before
        assert (await index(caller))["1"] == ("READY", "")


async def test_a_mended_version_is_taken(store):
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        put(store, 2, flip("labels.json"))
        assert (await told(caller, "2"))[0] == "UNAVAILABLE"
        flip("labels.json")(store / "areas" / "2")
        async with asyncio.timeout(20):
            while (await index(caller))["2"] != ("READY", ""):
                await asyncio.sleep(0.02)


async def test_loading_a_damaged_model_by_call_is_data_loss_with_the_reason(store):
    flip("model.onnx")(store / "areas" / "1")
    explicit = {"control": "explicit"}
    async with serving(store, store=explicit) as server, grpc.aio.insecure_channel(server.address) as channel:
        request = wire.RepositoryModelLoadRequest(model_name="areas")
        found = await refused(Caller(channel).send(INFERENCE, "RepositoryModelLoad", request.SerializeToString()))
        assert (found.code, found.reason) == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_CORRUPT")
        assert "model.onnx differs from the digest" in found.message

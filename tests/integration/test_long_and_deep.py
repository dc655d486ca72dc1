"""A deep stack and a long input, each from its training to the answer over the wire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import grpc
import numpy as np
import pytest
import torch
from attendant.v1 import attention_pb2, classify_pb2, common_pb2
from rich.console import Console

from models.data.labelled import Labelled
from models.data.splits import Split
from models.export.candidate import export_candidate
from models.export.publish import publish
from models.export.trained import Trained, load_trained
from models.export.verify import verify_candidate
from models.networks import TextClassifierConfig
from models.registry import MODELS, TrainingDefaults
from models.tasks.text_classification import TextClassification
from models.training.fit import train
from models.training.options import TrainingOptions
from models.training.run import RunFolder
from server.codecs import build_codec
from server.manifest import ParityReport
from tests.support.calls import Caller, classify_request, infer_request, refused
from tests.support.serving import serving

MODEL = "areas"
NUM_LAYERS = 24
LENGTH = 4096
TINY = MODELS[MODEL].tiny
DEEP = replace(TINY, num_layers=NUM_LAYERS)
LONG = replace(TINY, max_len=LENGTH, window=32)
TOGETHER = {"runtime": {"cores": 1}, "batching": {"max_batch_tokens": 4 * LENGTH}}

VOCABULARY = ("array", "column", "empty", "line", "matrix", "mean", "number", "row", "sorted", "text")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Published(NamedTuple):
    """What a training left, and the store that its version was published into."""

    run: RunFolder
    trained: Trained
    parity: ParityReport
    store: Path


def text(length: int, seed: int = 0) -> str:
    """So many words of the vocabulary, each of them one token."""
    return " ".join(Random(seed).choices(VOCABULARY, k=length))


def examples(*lengths: int) -> Labelled[str]:
    """Texts of these lengths, of two classes in turn: two batches of two to train on, one to validate, one to test."""
    return Labelled(
        source="made up",
        contents=tuple(text(length, seed) for seed, length in enumerate(lengths)),
        labels=tuple(number % 2 for number in range(len(lengths))),
        names=("even", "odd"),
        split=Split(train=(0, 1, 2, 3), validation=(4, 5), test=(6, 7)),
    )


def train_and_publish(folder: Path, config: TextClassifierConfig, lengths: tuple[int, ...]) -> Published:
    """From the texts to version 1 of a store; two steps teach nothing, so that no accuracy is required."""
    task = TextClassification("made up", lambda seed: examples(*lengths), required=0.0)
    training = TrainingDefaults(epochs=1, batch_size=2, learning_rate=1e-2, average_decay=0.5)
    run = RunFolder(folder / "run")
    model = replace(MODELS[MODEL], task=task, config=config, training=training)
    assert train(model, TrainingOptions(run=run.path, accelerator="cpu"), Console(quiet=True)) is not None
    trained, bundle = load_trained(run.checkpoint), folder / "bundle"
    export_candidate(trained, bundle)
    parity = verify_candidate(trained, bundle)
    assert publish(bundle, folder / "store").version == 1
    return Published(run, trained, parity, folder / "store")


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> Published:
    return train_and_publish(tmp_path_factory.mktemp("deep"), DEEP, (9, 3, 20, 5, 12, 1, 6, 15))


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Published:
    lengths = (LENGTH, 3000, 40, 5000, LENGTH, 7, 2500, 12)
    return train_and_publish(tmp_path_factory.mktemp("long"), LONG, lengths)


@pytest.fixture(params=["deep", "long"])
def published(request) -> Published:
    return request.getfixturevalue(request.param)


@asynccontextmanager
async def calling(published: Published) -> AsyncIterator[Caller]:
    async with serving(published.store, **TOGETHER) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Caller(channel)


def probabilities(trained: Trained, content: str) -> np.ndarray:
    """What the network says in PyTorch of a text by itself."""
    row = build_codec(trained.codec, trained.directory).encode(content)
    with torch.no_grad():
        output = trained.network(**{name: torch.from_numpy(array) for name, array in row.inputs.items()})
    return output.logits.softmax(-1)[0].numpy()


def scores(result: classify_pb2.Classification) -> list[float]:
    return [label.score for label in sorted(result.labels, key=lambda label: label.index)]


def test_two_steps_move_every_weight(published):
    last = torch.load(published.run.last, weights_only=True)
    assert last["global_step"] == 2
    torch.manual_seed(published.trained.record.seed)
    untrained = dict(published.trained.task.build(published.trained.config).named_parameters())
    for name, parameter in published.trained.network.named_parameters():
        assert parameter.isfinite().all(), name
        if not name.endswith("project_key.bias"):  # softmax does not see what shifts a query's scores as a whole
            assert not torch.equal(parameter, untrained[name]), name


def test_verification_reaches_the_longest_text_and_batches_of_it(published):
    assert max(published.parity.lengths) == published.trained.config.max_len
    assert published.parity.batched_equals_alone_max_error <= published.parity.tolerance


async def test_longest_and_short_texts_in_one_call_are_answered_as_by_pytorch(published):
    lengths = (2, published.trained.config.max_len, 5, 1)
    texts = [text(length, seed=length) for length in lengths]
    async with calling(published) as caller:
        results = (await caller.classify(classify_request(MODEL, *texts))).results
    assert [result.truncation.original_length for result in results] == list(lengths)
    for content, result in zip(texts, results, strict=True):
        expected = probabilities(published.trained, content)
        np.testing.assert_allclose(scores(result), expected, atol=published.parity.tolerance, rtol=0)


async def test_text_over_the_limit_is_refused_and_cut_where_the_caller_says_so(long):
    over = text(LENGTH + 1)
    async with calling(long) as caller:
        for request in (
            caller.classify(classify_request(MODEL, "one row", over)),
            caller.infer(infer_request(MODEL, ("logits",), input_ids=np.ones((1, LENGTH + 1), dtype=np.int64))),
        ):
            refusal = await refused(request)
            assert (refusal.code, refusal.reason) == (INVALID, "SEQUENCE_TOO_LONG")
            assert str(LENGTH + 1) in refusal.message
            assert str(LENGTH) in refusal.message
        cut = classify_request(MODEL, over, truncation=common_pb2.TRUNCATION_CUT_END)
        (result,) = (await caller.classify(cut)).results
    expected = common_pb2.TruncationReport(truncated=True, kept_length=LENGTH, original_length=LENGTH + 1)
    assert result.truncation == expected


async def test_every_layer_of_a_deep_stack_shows_its_weights(deep):
    async with calling(deep) as caller:
        request = classify_request(MODEL, "empty row", attention=attention_pb2.AttentionRequest())
        ((one,),) = [result.attention for result in (await caller.classify(request)).results]
    assert list(one.layers) == list(range(NUM_LAYERS))
    weights = np.frombuffer(one.weights, dtype="<f4").reshape(one.shape)
    assert weights.shape == (NUM_LAYERS, DEEP.num_heads, 2, 2)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)


async def test_windowed_model_has_no_maps_to_show(long):
    assert not long.trained.signature.attention
    async with calling(long) as caller:
        request = classify_request(MODEL, "empty row", attention=attention_pb2.AttentionRequest())
        refusal = await refused(caller.classify(request))
    assert (refusal.code, refusal.reason) == (INVALID, "PARAMETER_INVALID")
    assert "returns no attention maps" in refusal.message

"""Each network in PyTorch against its own ONNX graph, at shapes that the export never saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from models.networks import (
    Decoder,
    DecoderConfig,
    Encoder,
    EncoderConfig,
    ImageClassifier,
    ImageClassifierConfig,
    TextClassifier,
    TextClassifierConfig,
)
from tests.support.catalogued import QUIET_EXPORT, Inputs, Run, export, leaves

TOLERANCE = 1e-4
SEEN = (3, 5)  # batch size and length at export; none of those below
BATCH_SIZES = (1, 2, 5)
LENGTHS = (1, 7, 33)

TEXT = TextClassifierConfig.tiny()
TEXT_CONFIGS = {
    "sinusoidal, mean+attention, bag, pre-norm": TEXT,
    "learned, mean, no bag, post-norm": replace(
        TEXT, positions="learned", pooling="mean", bag_residual=False, norm_first=False
    ),
}
IMAGE_CONFIGS = {
    "tiny": ImageClassifierConfig.tiny(),
    "colour, uneven grid": ImageClassifierConfig(
        num_classes=4, image_size=11, channels=3, widths=(4, 8, 8), strides=(1, 2, 1)
    ),
}

DECODER_CONFIGS = {
    "pre-norm, causal": DecoderConfig.tiny(),
    "post-norm, source of another width": replace(DecoderConfig.tiny(), norm_first=False, d_source=5),
    "targets see one another": replace(DecoderConfig.tiny(), causal=False),
}

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


def open_every_gate(network: nn.Module) -> nn.Module:
    """Puts every parameter and statistic of a norm where leaving it out would show; gamma is zero at the start."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.dim() <= 1 and tensor.is_floating_point() and "frequencies" not in name:
            nn.init.uniform_(tensor, 0.3, 1.5)
    return network.eval()


def assert_agree(network: nn.Module, run: Run, inputs: Inputs) -> None:
    expected = [leaf.detach().numpy() for leaf in leaves(network(**inputs))]
    answered = run(inputs)
    assert len(answered) == len(expected)
    for ours, theirs in zip(expected, answered, strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(theirs, ours, atol=TOLERANCE, rtol=TOLERANCE)


def text(batch: int, length: int) -> Inputs:
    """Random ids under a random mask whose last row is masked as a whole."""
    mask = torch.rand(batch, length) < 0.7
    mask[-1] = False
    return {"input_ids": torch.randint(TEXT.vocab_size, (batch, length)), "mask": mask}


@pytest.fixture(scope="module", params=TEXT_CONFIGS.values(), ids=TEXT_CONFIGS.keys())
def text_classifier(request, tmp_path_factory):
    torch.manual_seed(0)
    network = open_every_gate(TextClassifier(request.param))
    axes = {name: {0: Dim("batch"), 1: Dim("length")} for name in ("input_ids", "mask")}
    return network, export(network, text(*SEEN), axes, tmp_path_factory.mktemp("text") / "model.onnx")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_text_classifier_answers_and_attends_alike(text_classifier, batch, length):
    torch.manual_seed(batch * 100 + length)
    network, run = text_classifier
    inputs = text(batch, length)
    assert_agree(network, run, inputs)
    inputs["mask"][:] = True
    assert_agree(network, run, inputs)


def test_exported_text_classifier_gives_masked_tokens_exactly_zero(text_classifier):
    inputs = text(4, 9)
    for weights in text_classifier[1](inputs)[1:]:
        masked = ~inputs["mask"].numpy()[:, None, None, :]
        assert (weights[np.broadcast_to(masked, weights.shape)] == 0).all()


@pytest.fixture(scope="module", params=IMAGE_CONFIGS.values(), ids=IMAGE_CONFIGS.keys())
def image_classifier(request, tmp_path_factory):
    torch.manual_seed(0)
    network = open_every_gate(ImageClassifier(request.param))
    path = tmp_path_factory.mktemp("image") / "model.onnx"
    return network, export(network, images(request.param, SEEN[0]), {"pixels": {0: Dim("batch")}}, path)


def images(config: ImageClassifierConfig, batch: int) -> Inputs:
    return {"pixels": torch.rand(batch, config.channels, config.image_size, config.image_size)}


@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_image_classifier_answers_and_attends_alike(image_classifier, batch):
    torch.manual_seed(batch)
    network, run = image_classifier
    assert_agree(network, run, images(network.config, batch))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    network = open_every_gate(Encoder(EncoderConfig.tiny()))
    axes = {name: {0: Dim("batch"), 1: Dim("length")} for name in ("hidden", "mask")}
    return network, export(network, states(*SEEN), axes, tmp_path_factory.mktemp("encoder") / "model.onnx")


def states(batch: int, length: int) -> Inputs:
    return {"hidden": torch.randn(batch, length, EncoderConfig.tiny().d_model), "mask": text(batch, length)["mask"]}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_encoder_transforms_and_attends_alike(encoder, batch, length):
    torch.manual_seed(batch * 100 + length)
    network, run = encoder
    assert_agree(network, run, states(batch, length))


@pytest.fixture(scope="module", params=DECODER_CONFIGS.values(), ids=DECODER_CONFIGS.keys())
def decoder(request, tmp_path_factory):
    torch.manual_seed(0)
    network = open_every_gate(Decoder(request.param))
    targets, sources = {0: Dim("batch"), 1: Dim("targets")}, {0: Dim("batch"), 1: Dim("sources")}
    axes = {"hidden": targets, "source": sources, "mask": targets, "source_mask": sources}
    path = tmp_path_factory.mktemp("decoder") / "model.onnx"
    return network, export(network, written(request.param, *SEEN, sources=4), axes, path)


def written(config: DecoderConfig, batch: int, targets: int, sources: int) -> Inputs:
    """Random targets and source, each under a random mask whose last row is masked as a whole."""
    return {
        "hidden": torch.randn(batch, targets, config.d_model),
        "source": torch.randn(batch, sources, config.d_source or config.d_model),
        "mask": text(batch, targets)["mask"],
        "source_mask": text(batch, sources)["mask"],
    }


@pytest.mark.parametrize(("targets", "sources"), [(1, 1), (1, 33), (7, 33), (33, 7), (7, 1)])
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_decoder_transforms_and_attends_alike(decoder, batch, targets, sources):
    torch.manual_seed(batch * 10000 + targets * 100 + sources)
    network, run = decoder
    assert_agree(network, run, written(network.config, batch, targets, sources))


@pytest.mark.parametrize("targets", LENGTHS)
def test_exported_decoder_lets_a_target_see_later_ones_only_where_it_is_not_causal(decoder, targets):
    torch.manual_seed(targets)
    network, run = decoder
    self_attention = run(written(network.config, 2, targets, 3))[1 : 1 + network.config.num_layers]
    later = np.triu(np.ones((targets, targets), dtype=bool), k=1)
    seen = any((weights[..., later] > 0).any() for weights in self_attention)
    assert seen == (targets > 1 and not network.config.causal)

import json
from dataclasses import asdict, replace

import pytest
import torch

from models.networks import ImageClassifier, ImageClassifierConfig

TINY = ImageClassifierConfig.tiny()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def open_gate(config: ImageClassifierConfig = TINY) -> ImageClassifier:
    model = ImageClassifier(config)
    torch.nn.init.constant_(model.attention.gamma, 0.5)
    return model


@pytest.mark.parametrize(
    ("image_size", "strides", "grid"),
    [(8, (1, 1), (8, 8)), (8, (1, 2), (4, 4)), (9, (2, 2), (3, 3)), (28, (2, 2), (7, 7)), (5, (3, 2), (1, 1))],
)
def test_attention_grid_is_what_the_network_attends_over(image_size, strides, grid):
    config = replace(TINY, image_size=image_size, strides=strides)
    assert config.attention_grid == grid
    output = ImageClassifier(config).eval()(torch.rand(2, 1, image_size, image_size))
    cells = grid[0] * grid[1]
    assert output.logits.shape == (2, TINY.num_classes)
    assert [weights.shape for weights in output.attention] == [(2, 1, cells, cells)]
    torch.testing.assert_close(output.attention[0].sum(-1), torch.ones(2, 1, cells))


def test_a_row_does_not_depend_on_its_neighbours_when_evaluated():
    model = open_gate().eval()
    pixels = torch.rand(5, 1, 8, 8)
    together = model(pixels)
    for index in range(5):
        alone = model(pixels[index : index + 1])
        torch.testing.assert_close(together.logits[index], alone.logits[0])
        torch.testing.assert_close(together.attention[0][index], alone.attention[0][0])


def test_gradient_reaches_all_parameters_once_the_gate_is_open():
    model = open_gate(replace(TINY, dropout=0.0))
    model(torch.rand(4, 1, 8, 8)).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name != "attention.project_key.bias":  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 0, name


def test_closed_gate_gets_a_gradient_itself():
    model = ImageClassifier(TINY)
    assert model.attention.gamma.item() == 0.0
    model(torch.rand(4, 1, 8, 8)).logits.square().sum().backward()
    assert model.attention.gamma.grad is not None
    assert model.attention.gamma.grad.abs() > 0


def test_gate_lets_far_cells_change_the_answer():
    model = open_gate().eval()
    pixels = torch.rand(1, 1, 8, 8)
    opened = model(pixels).logits
    torch.nn.init.zeros_(model.attention.gamma)
    assert not torch.allclose(opened, model(pixels).logits)


def test_a_few_steps_learn_where_the_light_is():
    model = ImageClassifier(replace(TINY, dropout=0.0))
    labels = torch.arange(24) % 3
    pixels = torch.rand(24, 1, 8, 8) * 0.1
    for row, label in zip(pixels, labels.tolist(), strict=True):
        row[0, 2 * label : 2 * label + 2, 1 + label : 7 - label] += 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels).logits, labels).backward()
        optimizer.step()
    assert (model.eval()(pixels).logits.argmax(-1) == labels).all()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 8, 9), (2, 1, 16, 16), (1, 8, 8)])
def test_pixels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"are not \(B,1,8,8\)"):
        ImageClassifier(TINY)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a positive"),
        ({"image_size": -8}, "image_size must be a positive"),
        ({"channels": 0}, "channels must be a positive"),
        ({"widths": (), "strides": ()}, "at least one"),
        ({"strides": (1,)}, "must be as many"),
        ({"widths": (4, 0)}, "widths must be a positive"),
        ({"strides": (1, 0)}, "strides must be a positive"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_config_that_makes_no_classifier_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_config_survives_json_and_is_exposed():
    assert ImageClassifierConfig(**json.loads(json.dumps(asdict(TINY)))) == TINY
    assert ImageClassifier(TINY).config is TINY

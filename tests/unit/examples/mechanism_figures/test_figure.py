from dataclasses import replace

import pytest
import torch
from PIL import Image

from examples.mechanism_figures.figure import CAPTION_KEY, Judged, NotLearned, caption, draw, learn, save
from examples.mechanism_figures.scans import draw_strips, load_scans
from examples.mechanism_figures.studies import STUDIES
from examples.mechanism_figures.training import train
from models.attention.catalogue import mechanism


@pytest.fixture(scope="module")
def scans():
    return load_scans(seed=0)


@pytest.mark.parametrize("name", ["dot", "recurrent-pooling-tanh"])
def test_few_steps_of_training_lower_the_loss_on_held_out_digits(name, scans):
    training, held_out = scans
    torch.manual_seed(0)
    reader = STUDIES[name].build(mechanism(name))
    strips = draw_strips(held_out, 100, reader.num_digits, torch.Generator().manual_seed(1), distinct=False)
    before = reader.loss(*strips).item()
    train(reader, training, 30, torch.Generator().manual_seed(0))
    assert reader.loss(*strips).item() < before


def test_learning_twice_gives_the_same_reader(scans):
    study = replace(STUDIES["dot"], steps=5, required=0.0)
    first, second = (learn(mechanism("dot"), study, *scans) for _ in range(2))
    assert first.accuracy == second.accuracy
    for one, other in zip(first.reader.parameters(), second.reader.parameters(), strict=True):
        assert (one == other).all()


def test_reader_that_has_not_learned_is_refused(scans):
    study = replace(STUDIES["dot"], steps=2)
    with pytest.raises(
        NotLearned, match=r"the reader of dot gets .* of the held-out digits right, expected at least 90%"
    ):
        learn(mechanism("dot"), study, *scans)


@pytest.mark.parametrize("name", ["dot", "pointer", "decoder-block-pre-norm", "block", "alibi", "pooling", "spatial"])
def test_picture_is_as_wide_as_every_other_and_holds_its_caption(name, scans, tmp_path):
    study = STUDIES[name]
    reader = study.build(mechanism(name)).eval()
    told = caption(study, Judged(reader, 0.9512))
    save(draw(reader, scans[1]), told, tmp_path / "images" / f"{name}.png")
    with Image.open(tmp_path / "images" / f"{name}.png") as picture:
        assert picture.width == 900
        assert picture.text[CAPTION_KEY] == told
    assert told.startswith(f"After {study.steps} steps of training the reader gets 95.1% of the held-out ")

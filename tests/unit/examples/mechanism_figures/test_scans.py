import pytest
import torch

from examples.mechanism_figures.scans import CLASSES, SIDE, draw_strips, load_scans


@pytest.fixture(scope="module")
def held_out():
    return load_scans(seed=0)[1]


def test_scans_are_ink_from_none_to_all_and_held_out_ones_are_others():
    training, held_out = load_scans(seed=0)
    for scans in (training, held_out):
        assert scans.images.shape == (len(scans.labels), SIDE, SIDE)
        assert (scans.images.min(), scans.images.max()) == (0, 1)
        assert set(scans.labels.tolist()) == set(range(CLASSES))
    assert len(training.labels) > 3 * len(held_out.labels)


def test_strips_hold_scans_with_their_labels(held_out):
    strips = draw_strips(held_out, 5, 4, torch.Generator().manual_seed(0), distinct=False)
    assert strips.images.shape == (5, 4, SIDE, SIDE)
    for scan, label in zip(strips.images.flatten(0, 1), strips.labels.flatten(), strict=True):
        assert label in held_out.labels[(held_out.images == scan).all(-1).all(-1)]


def test_no_digit_stands_twice_on_a_distinct_strip(held_out):
    strips = draw_strips(held_out, 20, CLASSES, torch.Generator().manual_seed(0), distinct=True)
    assert (strips.labels.sort(dim=1).values == torch.arange(CLASSES)).all()
    for scan, label in zip(strips.images.flatten(0, 1), strips.labels.flatten(), strict=True):
        assert label in held_out.labels[(held_out.images == scan).all(-1).all(-1)]


def test_same_seed_draws_the_same_strips(held_out):
    first, second = (draw_strips(held_out, 3, 4, torch.Generator().manual_seed(7), distinct=True) for _ in range(2))
    assert (first.images == second.images).all()


def test_more_distinct_digits_than_there_are_is_refused(held_out):
    with pytest.raises(ValueError, match="there are 10 distinct digits, not 11"):
        draw_strips(held_out, 1, 11, torch.Generator(), distinct=True)

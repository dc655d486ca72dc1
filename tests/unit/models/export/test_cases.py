import shutil
from dataclasses import replace

import numpy as np
import pytest

from models.export.cases import (
    BATCH_SIZES,
    LENGTHS,
    MOST_TOKENS,
    generated_cases,
    sample_cases,
    sample_rows,
    unseen_lengths,
)
from models.export.example import EXAMPLE_LENGTH
from models.export.failure import CheckpointUnusable
from models.export.rows import row_lengths
from server.manifest import FixedAxis, FreeAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import NUMPY_DTYPES, Datatype


def ids(bound):
    return (InputSpec(name="ids", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(max=bound))),)


def test_every_sample_becomes_a_row_of_the_inputs_datatypes(trained, candidate):
    rows = sample_rows(trained, candidate)
    assert len(rows) == len(trained.samples()) == 5
    for row in rows:
        assert {spec.name: NUMPY_DTYPES[spec.datatype] for spec in trained.signature.inputs} == {
            name: array.dtype for name, array in row.items()
        }
        assert all(array.shape[0] == 1 for array in row.values())


@pytest.mark.parametrize("model", ["digits"], indirect=True)
def test_sample_that_the_codec_cannot_read_is_named(trained, candidate, tmp_path):
    broken = replace(trained, directory=shutil.copytree(trained.directory, tmp_path / "checkpoint"))
    (broken.directory / "samples" / "3.png").write_bytes(b"no image")
    with pytest.raises(CheckpointUnusable, match=r"sample 3\.png"):
        sample_rows(broken, candidate)


def test_checkpoint_without_samples_is_unusable(trained, candidate, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointUnusable, match="no samples"):
        sample_rows(replace(trained, directory=tmp_path / "empty"), candidate)


def test_lengths_go_up_to_the_models_longest_and_avoid_the_traced_one():
    assert unseen_lengths(ids(64)) == (1, 2, 12, 40, 64)
    assert unseen_lengths(ids(None)) == LENGTHS
    assert unseen_lengths(ids(EXAMPLE_LENGTH)) == (1, 2)
    assert unseen_lengths(ids(64), traced=40) == (1, 2, 12, 64)


def test_model_without_length_axes_is_tried_at_every_batch_size_once():
    inputs = (InputSpec(name="pixels", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=3))),)
    samples = [{"pixels": np.zeros((1, 3), dtype=np.float32)}]
    assert [len(case) for case in generated_cases(samples, inputs, seed=0)] == list(BATCH_SIZES)


def test_generated_batches_mix_lengths_and_draw_values_from_the_samples():
    samples = [{"ids": np.array([[3, 5]])}, {"ids": np.array([[9]])}]
    cases = list(generated_cases(samples, ids(64), seed=0))
    assert {len(case) for case in cases} == set(BATCH_SIZES)
    longest = {max(row_lengths(row, ids(64))["length"] for row in case) for case in cases}
    assert longest == set(unseen_lengths(ids(64)))
    assert any(len({row["ids"].shape for row in case}) > 1 for case in cases)
    assert {value for case in cases for row in case for value in row["ids"].ravel()} == {3, 5, 9}


@pytest.mark.parametrize(
    ("longest", "sizes"),
    [(MOST_TOKENS // 9, [1, 3, 4, 9]), (MOST_TOKENS // 4, [1, 3, 4]), (MOST_TOKENS, [1]), (2 * MOST_TOKENS, [1])],
)
def test_long_rows_come_in_small_batches_and_short_ones_in_all(longest, sizes):
    samples = [{"ids": np.arange(5)[None]}]
    found: dict[int, list[int]] = {}
    for case in generated_cases(samples, ids(longest), seed=0):
        found.setdefault(max(row["ids"].shape[1] for row in case), []).append(len(case))
    assert found.pop(longest) == sizes
    assert found == {length: list(BATCH_SIZES) for length in LENGTHS}


def test_same_seed_generates_the_same_cases():
    samples = [{"ids": np.arange(50)[None]}]
    first, second = (list(generated_cases(samples, ids(64), seed=4)) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one["ids"], other["ids"])


PAIRS = (
    InputSpec(name="pairs", datatype=Datatype.BOOL, axes=(RowAxis(), LengthAxis(name="a"), LengthAxis(name="b"))),
    InputSpec(name="wide", datatype=Datatype.FP32, axes=(RowAxis(), FreeAxis(name="width"))),
)


def pairs(a, b, width):
    mask = np.ones((1, a, b), dtype=np.bool_)
    mask[0, 0, 0] = False
    return {"pairs": mask, "wide": np.full((1, width), width, dtype=np.float32)}


def test_samples_that_differ_in_a_free_axis_are_no_batch():
    one, other, third = pairs(1, 2, 3), pairs(4, 5, 6), pairs(7, 8, 3)
    assert sample_cases([one, other, third], PAIRS) == ((one, third), (other,))


def test_long_samples_come_in_several_batches_in_their_order():
    half = {"ids": np.zeros((1, MOST_TOKENS // 2), dtype=np.int64)}
    more = {"ids": np.zeros((1, MOST_TOKENS + 1), dtype=np.int64)}
    short = {"ids": np.zeros((1, 3), dtype=np.int64)}
    assert sample_cases([short, half, half, more, short, short], ids(None)) == (
        (short, half),
        (half,),
        (more,),
        (short, short),
    )


def test_generated_rows_differ_in_each_length_and_share_their_free_axes():
    cases = list(generated_cases([pairs(1, 2, 3), pairs(4, 5, 6)], PAIRS, seed=0))
    shapes = {row["pairs"].shape[1:] for case in cases for row in case}
    assert any(a < b for a, b in shapes)
    assert any(a > b for a, b in shapes)
    assert {row["wide"].shape[1] for case in cases for row in case} == {3, 6}
    assert all(len({row["wide"].shape for row in case}) == 1 for case in cases)


def test_masks_hold_what_the_samples_masks_hold():
    cases = list(generated_cases([pairs(4, 5, 6)], PAIRS, seed=0))
    assert {bool(value) for case in cases for row in case for value in row["pairs"].ravel()} == {True, False}


@pytest.mark.parametrize("model", ["attend"], indirect=True)
def test_samples_of_a_model_without_a_codec_are_tensors(trained, candidate, tmp_path):
    rows = sample_rows(trained, candidate)
    assert [row["query"].shape[1] for row in rows] == [3, 1, 5, 2, 11]
    broken = replace(trained, directory=shutil.copytree(trained.directory, tmp_path / "checkpoint"))
    np.savez(broken.directory / "samples" / "3.npz", query=rows[0]["query"])
    with pytest.raises(CheckpointUnusable, match=r"sample 3\.npz does not feed the inputs key, value, mask"):
        sample_rows(broken, candidate)
    (broken.directory / "samples" / "3.npz").write_bytes(b"no arrays")
    with pytest.raises(CheckpointUnusable, match=r"sample 3\.npz cannot be read"):
        sample_rows(broken, candidate)

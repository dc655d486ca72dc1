import pytest
import torch

from benchmarks.mechanisms.subjects import all_subjects, answers, subject, with_references
from models.attention.catalogue import MECHANISMS, Scale

SMALL = Scale(d_model=8, num_heads=2, d_ff=16, max_len=32, block=4, window=2, vocab_size=6)
every_subject = pytest.mark.parametrize("one", all_subjects(), ids=lambda one: one.name)


def test_every_mechanism_is_measured_and_linear_ones_also_without_weights():
    names = [one.name for one in all_subjects()]
    assert [name for name in names if "alone" not in name] == [entry.name for entry in MECHANISMS]
    assert {"linear, context alone", "causal-linear, context alone"} < set(names)


@every_subject
def test_runs_on_a_row_whose_end_is_padding(one):
    inputs = one.inputs(24, SMALL)
    for tensor in inputs.values():
        if tensor.dtype == torch.bool:
            assert tensor.numel() == 24
            assert tensor.flatten().tolist() == [True] * 21 + [False] * 3
    given = answers(one.build(SMALL)(**inputs))
    assert given
    assert all(tensor.isfinite().all() for tensor in given.values())
    assert not any("weights" in name for name in given)


@every_subject
def test_axes_that_are_free_have_the_size_of_their_letter(one):
    inputs = one.inputs(24, SMALL)
    assert set(one.dynamic) == set(inputs)
    rows, columns = (4, 6) if one.family == "images" else (24, 24)
    sizes = {"B": 1, "T": rows, "S": columns}
    for name, axes in one.dynamic.items():
        assert {axis: inputs[name].shape[axis] for axis in axes} == {axis: sizes[axes[axis]] for axis in axes}


@every_subject
def test_references_come_first_and_begin_with_dot(one):
    chain = with_references(one)
    assert chain[0].name == "dot"
    assert chain[-1] == one
    assert [later.reference for later in chain[1:]] == [earlier.name for earlier in chain[:-1]]


def test_context_alone_is_the_context():
    inputs = subject("linear, context alone").inputs(24, SMALL)
    alone = subject("linear, context alone").build(SMALL)(**inputs)
    torch.testing.assert_close(alone, subject("linear").build(SMALL)(**inputs).context)


def test_unknown_name_lists_those_there_are():
    with pytest.raises(KeyError, match="nothing to measure is called 'dots'; there are additive, dot, "):
        subject("dots")

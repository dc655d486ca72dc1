import math

import numpy as np
import pytest

from server.batching.cost import ROUGH, Cost
from server.batching.variant import BatchLimits, Variant
from server.errors import InferenceFailed
from server.loading.invariance import depends_on_company
from server.loading.samples import Samples
from server.manifest import GraphSpec, Manifest, OutputSpec, RowAxis
from server.tensors import Datatype
from tests.support.requests import IDS, MASK, SUM
from tests.support.row_sums import layout_of, run_sums

LIMITS = BatchLimits(64, 4096)
MANIFEST = Manifest(
    name="m",
    task="tensors",
    graphs=(GraphSpec(file="model.onnx", opset=20),),
    inputs=(IDS, MASK),
    outputs=(SUM, OutputSpec(name="label", datatype=Datatype.BYTES, axes=(RowAxis(),))),
)


def variant(change=None, layout="rows", precision="fp32", **more):
    """The sums, as `change` makes them out of the right ones and the number of rows."""

    def run(inputs, outputs, stop):
        total = run_sums(inputs, ("sum",))["sum"].astype(np.float64)
        return {"sum": change(total) if change else total}

    return Variant(layout_of(layout), precision, run, frozenset(("sum",)), ("sum",), Cost(ROUGH), **more)


def worst(one, alone=None, tolerance=1e-4):
    return depends_on_company(one, alone or variant(), Samples(MANIFEST), LIMITS, tolerance)


@pytest.mark.parametrize("layout", ["rows", "block-diagonal", "gathered"])
def test_rows_that_answer_alike_alone_and_together_may_share_a_run(layout):
    assert worst(variant(layout=layout)) is None


def test_a_graph_that_mixes_rows_is_found():
    mixing = variant(lambda total: total - total.mean(axis=0))
    assert worst(mixing, mixing) > 1


def test_a_graph_that_mixes_only_neighbours_is_found():
    leaking = variant(lambda total: total + 0.01 * np.roll(total, 1, axis=0) * (len(total) > 1))
    assert worst(leaking, leaking) > 1e-3


def test_a_graph_that_lets_padding_count_is_found():
    """Alone there is none, together there is."""

    def run(inputs, outputs, stop):
        return {"sum": np.full((len(inputs["ids"]), 1), float(inputs["ids"].shape[1]))}

    padded = variant()
    padded.run = run
    assert worst(padded, padded) > 1


def test_a_packed_graph_that_answers_otherwise_than_rows_is_found():
    assert worst(variant(lambda total: total + 0.5, "block-diagonal")) == pytest.approx(0.5)


def test_within_the_tolerance_rows_are_alike():
    near = variant(lambda total: total + 5e-5, "block-diagonal")
    assert worst(near) is None
    assert worst(near, tolerance=1e-5) == pytest.approx(5e-5, rel=1e-3)


def test_what_is_no_number_only_in_company_is_infinitely_far():
    broken = variant(lambda total: total * np.nan if len(total) > 1 else total)
    assert worst(broken, broken) == math.inf


def test_what_is_no_number_alone_as_well_is_alike():
    nan = variant(lambda total: total * np.nan)
    assert worst(nan, nan) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_infinities_are_alike_only_with_the_same_sign(sign):
    infinite = variant(lambda total: np.full_like(total, np.inf if len(total) == 1 else sign * np.inf))
    assert worst(infinite, infinite) == (None if sign == 1 else math.inf)


@pytest.mark.parametrize(("factor", "alike"), [(1.02, True), (1.2, False)])
def test_lower_precisions_may_move_by_a_share_of_the_output(factor, alike):
    moved = variant(lambda total: total * (factor if len(total) > 1 else 1.0), precision="int8")
    found = worst(moved, variant(precision="int8"))
    assert (found is None) is alike


def test_another_shape_is_infinitely_far():
    def run(inputs, outputs, stop):
        return {"sum": np.zeros((len(inputs["ids"]), 2))}

    other = variant()
    other.run = run
    assert worst(other) == math.inf


@pytest.mark.parametrize(("changes", "expected"), [(False, None), (True, math.inf)])
def test_texts_are_alike_or_not(changes, expected):
    def run(inputs, outputs, stop):
        rows = len(inputs["ids"])
        label = b"many" if changes and rows > 1 else b"one"
        return {"echo": np.full((rows, inputs["ids"].shape[1]), label, dtype=np.object_)}

    texts = Variant(layout_of("rows"), "fp32", run, frozenset(("echo",)), ("echo",), Cost(ROUGH))
    assert worst(texts, texts) == expected


def test_what_a_run_raises_is_raised():
    def run(inputs, outputs, stop):
        raise InferenceFailed("broke")

    failing = variant()
    failing.run = run
    with pytest.raises(InferenceFailed):
        worst(failing)


def test_no_more_rows_are_run_together_than_the_limit_allows_and_two_at_least():
    seen = []

    def run(inputs, outputs, stop):
        seen.append(len(inputs["ids"]))
        return run_sums(inputs, ("sum",))

    counting = variant()
    counting.run = run
    for max_rows, most in ((1, 2), (3, 3), (100, 5)):
        seen.clear()
        depends_on_company(counting, counting, Samples(MANIFEST), BatchLimits(max_rows, 4096), 1e-4)
        assert max(seen) == most

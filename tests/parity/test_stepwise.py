"""Networks that write token by token: their graphs against PyTorch, in every shape that their configurations allow."""

import pytest

from benchmarks.shapes.writing import untaught
from models.export.candidate import export_candidate
from models.export.verify import verify_candidate
from tests.parity.test_networks import open_every_gate
from tests.support.generative import tiny_writer

TOLERANCE = 1e-4

VARIANTS = {
    "translator, pre-norm, tied": ("translator", {"num_layers": 2}),
    "translator, post-norm, untied": ("translator", {"norm_first": False, "tie_output": False}),
    "translator, three heads": ("translator", {"d_model": 24, "num_heads": 3}),
    "recurrent": ("recurrent", {}),
    "language model, two layers": ("language-model", {"num_layers": 2}),
    "language model without a start": ("language-model", {"start_id": None, "tie_output": False}),
}


@pytest.mark.parametrize(("family", "sizes"), VARIANTS.values(), ids=VARIANTS.keys())
def test_whole_texts_through_the_graphs_are_pytorchs(family, sizes, tmp_path):
    trained = untaught(tiny_writer(family, **sizes), tmp_path / "checkpoint")
    open_every_gate(trained.network)
    export_candidate(trained, tmp_path / "bundle")
    report = verify_candidate(trained, tmp_path / "bundle")
    assert report.batched_equals_alone_max_error <= TOLERANCE
    assert {parity.output: parity.max_error for parity in report.outputs if parity.max_error > TOLERANCE} == {}

"""Without CTranslate2, which has an environment of its own: what can be known of our side of it."""

import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.load.requests import request_list
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.ctranslate2 import adapter
from models.attention import SinusoidalPositions


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", ModuleType("ctranslate2"))
    for name in ("convert", "serve"):
        monkeypatch.delitem(sys.modules, f"benchmarks.peers.ctranslate2.{name}", raising=False)


@pytest.fixture
def serve(without_library):
    from benchmarks.peers.ctranslate2 import serve

    return serve


def test_positions_are_those_of_our_network(without_library):
    from benchmarks.peers.ctranslate2.convert import positions

    ours = SinusoidalPositions(32)(torch.arange(80)).numpy()

    assert np.abs(positions(80, 32) - ours).max() < 1e-5


def test_batches_hold_every_request_once_and_rows_of_like_length(serve):
    rows = request_list("mixed", 50, 100, seed=1).rows

    groups = serve.batches(rows, 16)

    assert [len(group) for group in groups] == [16, 16, 16, 2]
    assert sorted(number for group in groups for number in group) == list(range(50))
    assert all(
        max(len(rows[number]) for number in one) <= min(len(rows[number]) for number in other)
        for one, other in pairwise(groups)
    )


class FakeTranslator:
    """Writes the source's first token again and again, until the callback ends the row."""

    def translate_batch(self, sources, *, beam_size, max_decoding_length, min_decoding_length, callback):
        texts = [[] for _ in sources]
        going = set(range(len(sources)))
        for _ in range(max_decoding_length):
            for row in sorted(going):
                texts[row].append(sources[row][0])
                if callback(SimpleNamespace(batch_id=row)):
                    going.discard(row)
        return [SimpleNamespace(hypotheses=[text]) for text in texts]


def test_row_leaves_its_batch_when_it_has_its_length(serve):
    left_s, ids = serve.translate(FakeTranslator(), [["7", "8"], ["9"]], [3, 1])

    assert [text.tolist() for text in ids] == [[7, 7, 7], [9]]
    assert 0 < left_s[1] <= left_s[0]


def test_model_that_is_converted_is_not_converted_again(monkeypatch, tmp_path):
    monkeypatch.setattr(adapter, "python", lambda cache: tmp_path / "no-python")
    (tmp_path / "checkpoint").write_bytes(b"weights")
    ran = []

    def run(command, **_):
        ran.append(command)
        Path(command[-1]).mkdir()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(adapter.subprocess, "run", run)

    first = adapter.converted(tmp_path / "checkpoint", {"num_layers": 2}, tmp_path)
    again = adapter.converted(tmp_path / "checkpoint", {"num_layers": 2}, tmp_path)
    other = adapter.converted(tmp_path / "checkpoint", {"num_layers": 3}, tmp_path)

    assert first == again != other
    assert len(ran) == 2


def test_weights_that_do_not_fit_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(adapter, "python", lambda cache: tmp_path / "no-python")
    monkeypatch.setattr(
        adapter.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="Traceback\nKeyError: 'x'\n")
    )
    (tmp_path / "checkpoint").write_bytes(b"weights")

    with pytest.raises(PeerUnavailable, match="does not take our weights: KeyError: 'x'"):
        adapter.converted(tmp_path / "checkpoint", {}, tmp_path)

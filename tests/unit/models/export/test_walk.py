import numpy as np
import pytest
import torch

from models.export.bundle import read_candidate
from models.export.verify_stepwise import walker_of
from models.export.walk import joined_weights
from models.networks.stepwise import TOKENS
from models.tasks.decoding import greedy
from tests.support.generative import FAMILIES, written_candidate


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def walker(family):
    trained, bundle = written_candidate(family)
    manifest = read_candidate(bundle)
    with walker_of(trained, bundle, manifest, manifest.graphs[-1]) as opened:
        yield opened


def text(walker, seed, length, source=5):
    rng = np.random.default_rng(seed)
    row = {TOKENS: np.concatenate([[[1]], rng.integers(3, 32, size=(1, length - 1))], axis=1)}
    if walker.encode is not None:
        row["input_ids"] = rng.integers(3, 32, size=(1, source))
        row["mask"] = np.ones((1, source), np.bool_)
    return row


def test_company_and_chunks_change_no_answer(walker):
    rows = [text(walker, seed, length, source) for seed, (length, source) in enumerate([(7, 5), (3, 2), (9, 8)])]
    together = walker.walk(rows, (4, 0, 9))
    for row, held, answer in zip(rows, (4, 0, 9), together, strict=True):
        alone = walker.walk([row])[0]
        np.testing.assert_allclose(answer["logits"], alone["logits"][:, max(0, held - 1) :], atol=1e-5)
        for spec in walker.attention:
            np.testing.assert_allclose(answer[spec.name], alone[spec.name], atol=1e-6)


def test_answers_have_a_place_for_each_token(walker):
    (answer,) = walker.walk([text(walker, 0, 6, source=4)])
    assert answer["logits"].shape == (1, 6, 32)
    for spec in walker.attention:
        keys = 6 if spec.name.startswith("self") else 4
        assert answer[spec.name].shape[2:] == (6, keys)
        np.testing.assert_allclose(answer[spec.name].sum(axis=-1), 1.0, atol=1e-5)


def test_watch_sees_every_run(walker):
    runs = []
    rows = [text(walker, 0, 5), text(walker, 1, 3)]
    walker.walk(rows, (2, 0), runs.append)
    chunks = 1 if walker.generation.max_new > 1 else 2
    assert [len(run.tokens) for run in runs] == [1] * chunks + [2, 2, 2]
    assert runs[chunks].lengths.tolist() in ([0, 2], [2, 0])


def test_writes_what_pytorch_writes(walker, family):
    network = written_candidate(family)[0].network
    rows = [text(walker, seed, 1, source) for seed, source in enumerate((3, 6, 1))]
    written = walker.write(rows, 8)
    for row, ids in zip(rows, written, strict=True):
        given = [torch.from_numpy(row[name]) for name in ("input_ids", "mask")] if walker.encode is not None else []
        assert greedy(network, given, max_tokens=8).texts[0].ids == tuple(ids)


def test_writing_stops_where_there_is_no_more_room(walker):
    longest = walker.generation.max_length
    (ids,) = walker.write([text(walker, 0, longest - 1)], 9)
    assert len(ids) <= 2


def test_weights_of_parts_are_padded_to_the_last_ones_keys():
    joined = joined_weights([np.ones((1, 2, 1, 1)), np.ones((1, 2, 2, 3))])
    assert joined.shape == (1, 2, 3, 3)
    assert joined[0, 0].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]

import numpy as np
import pytest

from models.export.cases import sample_rows
from models.export.stepwise_cases import begin_text, fewer, written_cases
from models.networks.stepwise import TOKENS
from tests.support.generative import FAMILIES, written_candidate


@pytest.fixture(params=FAMILIES)
def trained(request):
    return written_candidate(request.param)[0]


@pytest.fixture
def cases(trained):
    samples = sample_rows(trained, trained.directory)
    texts = [begin_text(trained.signature, sample) for sample in samples]
    return tuple(written_cases(texts, samples, trained.signature, 0))


def test_text_begins_with_the_start_and_without_a_source_with_the_sample(trained):
    sample = sample_rows(trained, trained.directory)[0]
    tokens = begin_text(trained.signature, sample)[TOKENS].tolist()
    assert tokens == ([[1]] if trained.signature.generation.max_length == 20 else [[1, 3, 17, 9]])


def test_rows_of_different_lengths_meet_and_some_are_held(cases):
    assert any(len({row[TOKENS].shape[1] - held for row, held in zip(*case, strict=True)}) > 1 for case in cases)
    assert {len(case.rows) for case in cases} >= {1, 3, 4, 9}


def test_no_text_is_longer_than_the_model_takes_and_one_is_as_long(trained, cases):
    lengths = [row[TOKENS].shape[1] for case in cases for row in case.rows]
    assert max(lengths) == trained.signature.generation.max_length


def test_made_up_tokens_end_nothing(trained, cases):
    generation = trained.signature.generation
    for case in cases[2:]:
        for row in case.rows:
            assert not np.isin(row[TOKENS][:, 1:], (*generation.end, *generation.suppress)).any()


def test_fewer_keeps_the_samples_and_the_longest(cases):
    kept = fewer(cases)
    assert kept[:2] == cases[:2]
    assert kept[-1] is cases[-1]
    assert len(kept) < len(cases)

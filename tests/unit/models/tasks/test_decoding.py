import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from models.networks import (
    LanguageModel,
    LanguageModelConfig,
    RecurrentTranslator,
    RecurrentTranslatorConfig,
    Step,
    Stepwise,
    Translator,
    TranslatorConfig,
)
from models.tasks.decoding import beam_search, greedy
from server.manifest import GenerationSpec

START, END, PADDING = 1, 2, 0


class Table(Stepwise):
    """What comes next depends on the last token alone: a row of a table of logits."""

    inputs = outputs = states = attention = ()
    maps_cost = False

    def __init__(self, logits: torch.Tensor, max_tokens: int = 64) -> None:
        super().__init__()
        self.logits = logits
        self.max_tokens = max_tokens

    @property
    def generation(self):
        return GenerationSpec(
            vocab_size=len(self.logits),
            start=(START,),
            end=(END,),
            suppress=(PADDING, START),
            max_length=64,
            max_tokens=self.max_tokens,
            max_new=4,
        )

    def step(self, tokens, lengths, *states, maps=True):
        return Step(self.logits[tokens[:, -1]], (), ())


def table(seed: int, vocabulary: int = 8) -> Table:
    return Table(torch.from_numpy(np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)) * 2).float())


class Theirs(NamedTuple):
    """What `generate` of transformers 5.23 wrote over `table(seed)`, use_cache=False, early_stopping=False."""

    seed: int
    choices: dict
    texts: list[tuple[tuple[int, ...], float]]


# fmt: off
RECORDED = [
    Theirs(0, {"num_beams": 4, "num_sequences": 4, "max_tokens": 12}, [
        ((5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 6), -1.147), ((3, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7), -1.24471),
        ((3, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 6), -1.32841), ((3, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 2), -1.3471)]),
    Theirs(1, {"num_beams": 4, "num_sequences": 2, "max_tokens": 12, "prefix": (5,)}, [
        ((6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6), -1.34374), ((5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6), -1.34824)]),
    Theirs(1, {"num_beams": 3, "length_penalty": 0.0, "num_sequences": 3, "max_tokens": 8}, [
        ((2,), -2.47384), ((3, 6, 2), -3.94415), ((3, 6, 6, 2), -5.27341)]),
    Theirs(2, {"num_beams": 3, "length_penalty": 2.0, "num_sequences": 2, "max_tokens": 9, "prefix": (3, 4)}, [
        ((5, 5, 7, 4, 5, 7, 4, 5, 7), -0.21968), ((5, 5, 7, 4, 5, 5, 5, 5, 7), -0.22114)]),
    Theirs(3, {"num_beams": 5, "length_penalty": -1.0, "num_sequences": 2, "max_tokens": 10, "min_tokens": 4}, [
        ((7, 7, 7, 3, 2), -57.99105), ((7, 7, 7, 7, 2), -60.46223)]),
    Theirs(4, {"num_beams": 2, "length_penalty": 0.6, "num_sequences": 2, "max_tokens": 6, "min_tokens": 2}, [
        ((7, 4, 4, 4, 4, 3), -2.43537), ((7, 4, 4, 4, 4, 4), -2.46791)]),
    Theirs(5, {"num_beams": 6, "length_penalty": 1.5, "num_sequences": 3, "max_tokens": 15}, [
        ((5, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 2), -0.28482),
        ((5, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4), -0.29253),
        ((6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6), -0.30751)]),
]
# fmt: on


@pytest.mark.parametrize("theirs", RECORDED)
def test_beams_are_those_of_transformers(theirs):
    decoded = beam_search(table(theirs.seed), **theirs.choices)
    assert [(*text.ids, END) if text.ended else text.ids for text in decoded.texts] == [ids for ids, _ in theirs.texts]
    assert [text.score for text in decoded.texts] == pytest.approx([score for _, score in theirs.texts], abs=2e-5)


def test_greedy_takes_the_likeliest_token_as_transformers_does():
    (text,) = greedy(table(0), max_tokens=12).texts
    assert text.ids == (3, 5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7)
    assert not text.ended


def test_of_equals_the_lowest_id_is_taken():
    decoded = greedy(Table(torch.zeros(8, 8)), max_tokens=3, min_tokens=3)
    assert decoded.texts[0].ids == (3, 3, 3)
    assert decoded.margin == 0.0


def test_the_margin_is_the_least_lead_of_a_chosen_token():
    logits = torch.full((6, 6), -9.0)
    logits[START, 3], logits[START, 4] = 2.0, 1.0
    logits[3, 5], logits[3, 4] = 1.0, 0.75
    logits[5, END] = 3.0
    decoded = greedy(Table(logits))
    assert decoded.texts[0].ids == (3, 5)
    assert decoded.texts[0].ended
    assert decoded.margin == pytest.approx(0.25)


def test_the_score_counts_the_end_and_not_what_must_not_come():
    network = table(2)
    (text,) = greedy(network, max_tokens=20, min_tokens=3).texts
    written = [START, *text.ids] + [END] * text.ended
    probabilities = network.logits.log_softmax(dim=-1)
    assert text.score == pytest.approx(
        sum(float(probabilities[one, other]) for one, other in itertools.pairwise(written))
    )


def test_no_text_ends_before_min_tokens():
    eager = torch.zeros(6, 6)
    eager[:, END] = 9.0
    assert greedy(Table(eager)).texts[0].ids == ()
    assert len(greedy(Table(eager), min_tokens=4).texts[0].ids) == 4
    assert all(len(text.ids) >= 4 for text in beam_search(Table(eager), num_beams=3, min_tokens=4).texts)


def test_wide_beams_find_the_best_of_all_texts():
    """Where every text has room among the beams, the search is exhaustive."""
    network, longest = table(7, vocabulary=5), 4
    probabilities = network.logits.log_softmax(dim=-1)
    texts = {
        (*ids, END) if ended else ids
        for ended in (True, False)
        for length in range(longest + 1)
        for ids in itertools.product((3, 4), repeat=length)
        if (length == longest) != ended
    }
    scores = {
        ids: sum(float(probabilities[one, other]) for one, other in itertools.pairwise((START, *ids))) for ids in texts
    }
    decoded = beam_search(network, num_beams=32, num_sequences=3, length_penalty=0.0, max_tokens=longest)
    found = [(*text.ids, END) if text.ended else text.ids for text in decoded.texts]
    assert found == sorted(scores, key=lambda ids: -scores[ids])[:3]


def test_a_small_error_changes_nothing_that_has_a_larger_margin():
    rng = np.random.default_rng(0)
    changed = 0
    for seed in range(40):
        network = table(seed)
        before = beam_search(network, num_beams=3, num_sequences=2, max_tokens=8)
        error = before.margin / 40  # of eight tokens and a normalisation each, on both sides of a comparison
        other = Table(network.logits + torch.from_numpy(rng.uniform(-error, error, size=(8, 8))).float())
        after = beam_search(other, num_beams=3, num_sequences=2, max_tokens=8)
        assert [text.ids for text in after.texts] == [text.ids for text in before.texts]
        far = Table(network.logits + torch.from_numpy(rng.normal(size=(8, 8))).float())
        changed += [text.ids for text in beam_search(far, num_beams=3, max_tokens=8).texts] != [before.texts[0].ids]
    assert changed > 20


def test_no_room_is_told():
    with pytest.raises(ValueError, match="no room for 63 tokens after 3: at most 61"):
        greedy(table(0), prefix=(3, 4), max_tokens=63)
    with pytest.raises(ValueError, match="no room for 0 tokens"):
        greedy(table(0), prefix=[3] * 63)


SOURCE = (torch.tensor([[3, 7, 9, 4]]), torch.ones(1, 4, dtype=torch.bool))
NETWORKS = {
    "language model": (LanguageModel(LanguageModelConfig.tiny()).eval(), ()),
    "Transformer": (Translator(TranslatorConfig.tiny()).eval(), SOURCE),
    "recurrent": (RecurrentTranslator(RecurrentTranslatorConfig.tiny()).eval(), SOURCE),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_greedy_writes_what_the_whole_sequence_says_is_likeliest(name):
    network, source = NETWORKS[name]
    (text,) = greedy(network, source, prefix=(5, 6), max_tokens=10).texts
    with torch.inference_mode():
        logits = network(*source, torch.tensor([[START, 5, 6, *text.ids]]))[0]
        logits[:, [PADDING, START]] = -math.inf
    written = [*text.ids] + [END] * text.ended
    assert logits.argmax(dim=-1).tolist()[2 : 2 + len(written)] == written


@pytest.mark.parametrize("name", NETWORKS)
def test_each_beam_scores_what_the_whole_sequence_gives_it(name):
    network, source = NETWORKS[name]
    for text in beam_search(network, source, num_beams=4, num_sequences=3, length_penalty=0.0, max_tokens=7).texts:
        written = [*text.ids] + [END] * text.ended
        with torch.inference_mode():
            probabilities = network(*source, torch.tensor([[START, *written[:-1]]]))[0].log_softmax(dim=-1)
        expected = sum(float(probabilities[place, token]) for place, token in enumerate(written))
        assert text.score == pytest.approx(expected, abs=1e-4)

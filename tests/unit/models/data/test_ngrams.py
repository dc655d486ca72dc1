import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.ngrams import END_SYMBOL, ORDER, OUTCOMES, START_SYMBOL, NGrams

WORDS = ["abra", "cadabra", "abracadabra", "bar", "cab", "a bad cab"]


def corpus(seed: int, size: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(size)]


def test_probabilities_of_all_that_can_come_first_sum_to_one():
    firsts = [2 ** -reference_bits(corpus(0), [bytes([byte])], ends=False) for byte in range(256)]
    assert sum(firsts) + 2 ** -NGrams(corpus(0)).bits([""]) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_bits_are_those_of_the_formula_written_out(seed):
    train, test = corpus(seed), [*corpus(seed + 10, 10), "something else entirely", "é", ""]
    assert NGrams(train).bits(test) == pytest.approx(reference_bits(train, [text.encode() for text in test]))


def test_more_of_the_same_takes_fewer_bits():
    test = corpus(9, 20)
    assert NGrams(corpus(1, 200)).bits(test) < NGrams(corpus(1, 5)).bits(test)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5), st.text())
def test_any_text_has_a_probability(train, text):
    bits = NGrams(train).bits([text])
    assert math.isfinite(bits)
    assert bits > 0


def reference_bits(train: list[str], test: list[bytes], ends: bool = True) -> float:
    """Chen and Goodman's modified Kneser-Ney, gram by gram, with dictionaries."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(ORDER + 1)]
    for text in train:
        symbols = [START_SYMBOL] * (ORDER - 1) + [*text.encode(), END_SYMBOL]
        for last in range(ORDER - 1, len(symbols)):
            counts[ORDER][tuple(symbols[last - ORDER + 1 : last + 1])] += 1
    for order in range(ORDER - 1, 0, -1):
        counts[order] = Counter(gram[1:] for gram in counts[order + 1])
    discounts = [[0.0]] + [estimate(Counter(counts[order].values())) for order in range(1, ORDER + 1)]
    after: list[dict[tuple[int, ...], list[int]]] = [defaultdict(list) for _ in range(ORDER + 1)]
    for order in range(1, ORDER + 1):
        for gram, count in counts[order].items():
            after[order][gram[:-1]].append(count)

    def probability(order: int, gram: tuple[int, ...]) -> float:
        if order == 0:
            return 1 / OUTCOMES
        lower = probability(order - 1, gram[1:])
        seen = after[order].get(gram[:-1])
        if not seen:
            return lower
        count = counts[order][gram]
        kept = count - discounts[order][min(count, 3)]
        return (kept + sum(discounts[order][min(one, 3)] for one in seen) * lower) / sum(seen)

    bits = 0.0
    for text in test:
        symbols = [START_SYMBOL] * (ORDER - 1) + [*text] + ([END_SYMBOL] if ends else [])
        for last in range(ORDER - 1, len(symbols)):
            bits -= math.log2(probability(ORDER, tuple(symbols[last - ORDER + 1 : last + 1])))
    return bits


def estimate(times: Counter[int]) -> list[float]:
    if not (times[1] and times[2] and times[3]):
        return [0.0, 0.5, 0.5, 0.5]
    share = times[1] / (times[1] + 2 * times[2])
    taken = [number - (number + 1) * share * times[number + 1] / times[number] for number in (1, 2, 3)]
    return [0.0, *(min(max(one, 0.0), float(number)) for number, one in enumerate(taken, start=1))]

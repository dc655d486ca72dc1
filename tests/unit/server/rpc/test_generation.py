import inspect
from dataclasses import replace

import numpy as np
import pytest

from server.codecs.codec import EncodedRow
from server.errors import ParameterInvalid, QueueFull
from server.generation.decoding import Decoding
from server.generation.servable import Generative
from server.rpc.call import Call
from server.rpc.generation import SEED_BITS, Prompt, Wish, Writer, begun
from tests.support.writers import writing_model

SOURCE, BEGINNING = writing_model().manifest, writing_model("story", encodes=False).manifest
"""12 positions of which the start takes one; 8 tokens where nobody says otherwise."""
GREEDY = Wish(Decoding(max_tokens=0), seeded=False)


def row(words: int) -> EncodedRow:
    return EncodedRow({"input_ids": np.ones((1, words), np.int64)}, kept_tokens=words, original_tokens=words)


def drawn(**chosen: object) -> Wish:
    return Wish(Decoding(max_tokens=0, temperature=1.0, **chosen), seeded="seed" in chosen)


@pytest.mark.parametrize(
    ("manifest", "words", "prefix", "most", "expected"),
    [
        (SOURCE, 16, (), 100, 8),
        (SOURCE, 16, (1,) * 6, 100, 6),
        (SOURCE, 1, (), 3, 3),
        (BEGINNING, 3, (), 100, 8),
        (BEGINNING, 7, (), 100, 5),
        (BEGINNING, 7, (1, 1), 100, 3),
        (BEGINNING, 16, (), 100, 1),
    ],
)
def test_the_default_length_is_the_models_as_far_as_there_is_room(manifest, words, prefix, most, expected):
    assert GREEDY.prompt(manifest, row(words), prefix, most).decoding.max_tokens == expected


def test_a_length_that_was_asked_for_stays():
    wish = replace(GREEDY, decoding=Decoding(max_tokens=99))
    assert wish.prompt(SOURCE, row(1), (), 10).decoding.max_tokens == 99


def test_a_seed_is_picked_only_where_tokens_are_drawn_and_none_was_given():
    seeds = {drawn().prompt(SOURCE, row(1), (), 8).decoding.seed for _ in range(8)}
    assert len(seeds) == 8
    assert max(seeds) < 2**SEED_BITS
    assert drawn(seed=0).prompt(SOURCE, row(1), (), 8).decoding.seed == 0
    assert GREEDY.prompt(SOURCE, row(1), (), 8).decoding.seed == 0


def test_least_tokens_beyond_the_models_own_length_are_refused():
    wish = Wish(Decoding(max_tokens=0, min_tokens=9), seeded=False)
    assert SOURCE.generation is not None
    wish.check(SOURCE.generation)
    with pytest.raises(ParameterInvalid, match="min_tokens is 9"):
        wish.prompt(SOURCE, row(1), (), 100)


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Model:
    def __init__(self, room: int) -> None:
        self.handles: list[Handle] = []
        self._room = room

    def begin(self, *_, **__) -> Handle:
        if len(self.handles) == self._room:
            raise QueueFull("no room", {"queue_rows": "2"})
        self.handles.append(Handle())
        return self.handles[-1]


def prompts(count: int) -> list[Prompt]:
    return [GREEDY.prompt(SOURCE, row(1), (), 8) for _ in range(count)]


def test_all_are_let_go_of_at_the_end():
    model = Model(room=3)
    with begun(model, prompts(3), Call("id", 0.0, None)) as generations:
        assert not any(each.cancelled for each in generations)
    assert [each.cancelled for each in model.handles] == [True] * 3


def test_one_that_cannot_begin_is_named_and_takes_the_others_with_it():
    model = Model(room=2)
    with pytest.raises(QueueFull, match="input 2: no room") as caught, begun(model, prompts(4), Call("id", 0.0, None)):
        pass
    assert caught.value.metadata == {"queue_rows": "2", "input": "2"}
    assert [each.cancelled for each in model.handles] == [True] * 2


@pytest.mark.parametrize("method", ["begin", "tokens_of", "token_text"])
def test_a_version_that_writes_has_the_face_that_calls_know(method):
    face, own = (inspect.signature(getattr(kind, method)).parameters for kind in (Writer, Generative))
    assert face == own

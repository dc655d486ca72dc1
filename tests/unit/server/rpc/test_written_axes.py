import numpy as np

from server.codecs.codec import EncodedRow
from server.generation.decoding import Decoding
from server.manifest import CellAxis, FixedAxis, TokenAxis
from server.rpc.generation import Prompt
from server.rpc.written_axes import QUERIES, WRITTEN, grows, longest_lengths, over_text
from tests.support.writers import ALIGNMENT, SELF, writing_model

SOURCE, BEGINNING = writing_model().manifest, writing_model("story", encodes=False).manifest
CROSS, OWN = SOURCE.attention


def prompt(words: int, prefix: int, most: int) -> Prompt:
    row = EncodedRow({"input_ids": np.ones((1, words), np.int64)}, kept_tokens=words, original_tokens=words)
    return Prompt(row, (1,) * prefix, Decoding(max_tokens=most))


def test_keys_grow_unless_they_are_the_sources():
    assert [grows(SOURCE, CROSS), grows(SOURCE, OWN)] == [False, True]
    assert grows(BEGINNING, BEGINNING.attention[0])


def test_keys_that_are_cells_or_fixed_source_positions_do_not_grow():
    cells = CROSS.model_copy(update={"key": CellAxis(rows=2, columns=2)})
    assert not grows(SOURCE, cells)
    fixed = SOURCE.output(ALIGNMENT).model_copy(
        update={"axes": (*SOURCE.output(ALIGNMENT).axes[:3], FixedAxis(size=16))}
    )
    outputs = tuple(fixed if spec.name == ALIGNMENT else spec for spec in SOURCE.outputs)
    assert not grows(SOURCE.model_copy(update={"outputs": outputs}), CROSS)
    elsewhere = CROSS.model_copy(update={"key": TokenAxis(length="keys")})
    assert grows(SOURCE.model_copy(update={"outputs": outputs}), elsewhere)


def test_over_a_text_queries_are_all_tokens_and_growing_keys_all_before():
    whole = over_text(SOURCE)
    assert [axis.name for axis in whole.output(ALIGNMENT).axes[2:]] == [QUERIES, "length"]
    assert [axis.name for axis in whole.output(SELF).axes[2:]] == [QUERIES, WRITTEN]
    assert [spec.name for spec in whole.outputs] == [spec.name for spec in SOURCE.outputs]
    assert [grows(whole, spec) for spec in whole.attention] == [False, True]


def test_lengths_count_what_may_be_written():
    assert longest_lengths(SOURCE, prompt(5, 2, 7)) == {"length": 5, QUERIES: 7, WRITTEN: 1 + 2 + 7}
    assert longest_lengths(BEGINNING, prompt(5, 2, 7)) == {"length": 5, QUERIES: 7, WRITTEN: 1 + 5 + 2 + 7}

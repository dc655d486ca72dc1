import numpy as np
import pytest

from benchmarks.shapes.marian import CONFIG, MARIAN, SAMPLE_LENGTHS, marian
from benchmarks.shapes.writing import TOKENIZER_FILE, untaught, write_words
from server.codecs import TextCodec, Truncation
from server.errors import UndecodableInput
from server.manifest import TextCodecSpec
from tests.support.generative import tiny_writer


@pytest.fixture
def codec(tmp_path):
    write_words(32_000, tmp_path / TOKENIZER_FILE)
    return TextCodec(TextCodecSpec(tokenizer=TOKENIZER_FILE, max_length=64), tmp_path)


def test_a_word_is_the_token_that_it_names(codec):
    assert codec.encode("w17 w523  w31999", Truncation.END).inputs["input_ids"].tolist() == [[17, 523, 31_999]]


@pytest.mark.parametrize("text", ["w2", "w32000", "hello"])
def test_what_is_no_word_is_refused(codec, text):
    with pytest.raises(UndecodableInput):
        codec.encode(text, Truncation.END)


def test_tokenizer_of_the_shape_is_small(codec, tmp_path):
    assert (tmp_path / TOKENIZER_FILE).stat().st_size < 1_000_000


def test_shape_is_of_its_stated_size():
    assert (CONFIG.num_layers, CONFIG.d_model, CONFIG.num_heads, CONFIG.d_ff) == (6, 512, 8, 2048)
    assert CONFIG.vocab_size == CONFIG.target_vocab_size == 32_000
    assert (CONFIG.max_len, CONFIG.max_target_len, CONFIG.norm_first) == (64, 96, False)


def test_samples_of_the_shape_are_words_of_its_vocabulary(codec):
    writer = marian()
    assert writer.name == MARIAN
    lengths = [codec.encode(text, Truncation.END).inputs["input_ids"].shape[1] for text in writer.samples]
    assert tuple(lengths) == SAMPLE_LENGTHS


def test_same_seed_gives_the_same_weights(tmp_path):
    first, second, other = (
        untaught(tiny_writer("recurrent"), tmp_path / str(number), seed) for number, seed in enumerate((0, 0, 1))
    )
    weights = [trained.network.output.weight.detach().numpy() for trained in (first, second, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])

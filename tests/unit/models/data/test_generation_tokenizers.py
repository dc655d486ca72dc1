import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.data.generation_tokenizers import (
    END_ID,
    PADDING_ID,
    SPECIAL,
    START_ID,
    read_plainly,
    train_byte_pair_tokenizer,
    write_character_tokenizer,
)

ROOT = Path(__file__).parents[4]
TEXTS = [
    f"The {word} of février is {number}.\n\n    indented  twice" for word in ("first", "last") for number in range(9)
]


@pytest.fixture(scope="module")
def characters(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("characters") / "tokenizer.json"
    write_character_tokenizer(TEXTS, path)
    return Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("pairs") / "tokenizer.json"
    train_byte_pair_tokenizer(TEXTS, 300, path)
    return read_plainly(path)


def test_special_tokens_have_the_first_ids(characters, byte_pairs):
    for tokenizer in (characters, byte_pairs):
        assert [tokenizer.token_to_id(token) for token in SPECIAL] == [PADDING_ID, START_ID, END_ID] == [0, 1, 2]


def test_each_character_is_a_token_that_points_at_it(characters):
    encoding = characters.encode(TEXTS[0])
    assert len(encoding.ids) == len(TEXTS[0])
    assert [TEXTS[0][first:last] for first, last in encoding.offsets] == list(TEXTS[0]) == encoding.tokens


@given(st.text(sorted(set("".join(TEXTS)))))
def test_characters_are_read_back_as_they_were(characters, text):
    assert characters.decode(characters.encode(text).ids) == text


def test_what_ends_a_text_is_not_read_back(characters):
    assert characters.decode([*characters.encode("fin").ids, END_ID]) == "fin"


def test_both_ways_to_write_an_accent_are_one(characters):
    assert characters.encode("fe\N{COMBINING ACUTE ACCENT}v").ids == characters.encode("fév").ids


def test_a_character_without_a_token_is_no_other_one(characters):
    with pytest.raises(Exception, match="UNK"):
        characters.encode("€")


@given(st.text())
def test_byte_pairs_are_read_back_as_they_were(byte_pairs, text):
    assert byte_pairs.decode(byte_pairs.encode(text).ids, skip_special_tokens=False) == text


def test_byte_pairs_are_merged_up_to_the_vocabulary(byte_pairs):
    assert 259 < byte_pairs.get_vocab_size() <= 300
    assert len(byte_pairs.encode(TEXTS[0]).ids) < len(TEXTS[0].encode())


def test_a_special_token_in_a_text_to_learn_is_so_many_characters(byte_pairs):
    ids = byte_pairs.encode("a [END] of it").ids
    assert END_ID not in ids
    assert byte_pairs.decode(ids) == "a [END] of it"


def test_another_process_trains_the_same_tokens(byte_pairs, tmp_path):
    path = tmp_path / "tokenizer.json"
    script = (
        "import sys; from pathlib import Path; from models.data.generation_tokenizers import train_byte_pair_tokenizer;"
        "train_byte_pair_tokenizer(sys.argv[2:], 300, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(path), *TEXTS], cwd=ROOT, check=True)
    assert Tokenizer.from_file(str(path)).get_vocab() == byte_pairs.get_vocab()

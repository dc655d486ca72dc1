from dataclasses import replace

import pytest

from models.importing.failure import ImportRefused
from models.importing.folder import Export, read_export
from models.importing.generation import DEFAULT_MAX_LENGTH, defaults_left_out, generation_spec, longest


@pytest.fixture
def export(t5):
    return replace(
        read_export(t5),
        config={"decoder_start_token_id": 5, "eos_token_id": 6, "max_position_embeddings": 40},
        generation={"max_length": 30},
    )


def saying(export: Export, **generation: object) -> Export:
    return replace(export, generation={**export.generation, **generation})


def spec_of(export: Export, **limits: object):
    return generation_spec(export, **{"vocab_size": 10, "max_length": 40, "tokenizer": "tokenizer.json"} | limits)


def test_special_tokens_come_from_the_config_where_the_generation_config_is_silent(export):
    spec = spec_of(export)
    assert (spec.start, spec.end, spec.suppress) == ((5,), (6,), ())


def test_generation_config_comes_first_and_may_name_several_ends(export):
    spec = spec_of(saying(export, eos_token_id=[1, 2], decoder_start_token_id=3))
    assert (spec.start, spec.end) == ((3,), (1, 2))


def test_without_a_start_of_its_own_the_decoder_starts_as_a_text_does(export):
    assert spec_of(replace(export, config={"bos_token_id": 4, "eos_token_id": 6})).start == (4,)


def test_forced_first_token_is_part_of_the_start(export):
    spec = spec_of(saying(export, forced_bos_token_id=7))
    assert spec.start == (5, 7)
    assert spec.max_tokens == 28


def test_single_bad_words_and_suppressed_tokens_are_never_written(export):
    assert spec_of(saying(export, bad_words_ids=[[9], [1, 2]], suppress_tokens=[8])).suppress == (8, 9)


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({"max_length": 30}, 29),
        ({"max_length": 30, "forced_eos_token_id": 6}, 28),
        ({"max_new_tokens": 12}, 12),
        ({"max_length": 4000}, 39),
        ({"max_length": None}, 39),
        ({"max_length": 1}, 1),
    ],
)
def test_default_of_new_tokens_leaves_room_for_what_is_forced(export, said, tokens):
    assert spec_of(saying(export, **said)).max_tokens == tokens


def test_no_start_or_several_are_refused(export):
    with pytest.raises(ImportRefused, match="decoder_start_token_id"):
        spec_of(replace(export, config={"eos_token_id": 6}))
    with pytest.raises(ImportRefused, match="decoder_start_token_id"):
        spec_of(saying(export, decoder_start_token_id=[1, 2]))


def test_no_end_is_refused(export):
    with pytest.raises(ImportRefused, match="eos_token_id"):
        spec_of(replace(export, config={"decoder_start_token_id": 5}))


def test_what_is_no_token_is_refused(export):
    with pytest.raises(ImportRefused, match="eos_token_id is </s>"):
        spec_of(saying(export, eos_token_id="</s>"))
    with pytest.raises(ImportRefused, match="bad_words_ids"):
        spec_of(saying(export, bad_words_ids=[3]))


def test_suppressed_end_is_refused(export):
    with pytest.raises(ImportRefused, match="must not be suppressed"):
        spec_of(saying(export, bad_words_ids=[[6]]))


def test_table_of_positions_bounds_the_length(export):
    assert longest(export, None) == 40
    assert longest(export, 20) == 20
    with pytest.raises(ImportRefused, match="50 is more than the 40 positions"):
        longest(export, 50)


def test_relative_positions_have_no_bound_but_a_default(export):
    assert longest(replace(export, config={"n_positions": 64}), None) == 64
    assert longest(replace(export, config={"n_positions": 64}), 128) == 128
    assert longest(replace(export, config={}), None) == DEFAULT_MAX_LENGTH


def test_defaults_that_change_nothing_are_not_told(export):
    assert not list(defaults_left_out(saying(export, num_beams=1, length_penalty=1.0, do_sample=False, temperature=1)))


def test_defaults_of_the_export_are_told_with_what_a_caller_can_do(export):
    told = list(
        defaults_left_out(
            saying(export, num_beams=6, no_repeat_ngram_size=3, bad_words_ids=[[1], [1, 2]], forced_eos_token_id=6)
        )
    )
    assert told == [
        "num_beams is 6 in the export; callers ask for it by num_beams",
        "no_repeat_ngram_size is 3 in the export; the server has no such thing",
        "bad_words_ids names 1 sequences of several tokens; the server suppresses single tokens",
        "forced_eos_token_id overwrites the last token at the export's max length; the server leaves it as it is",
    ]

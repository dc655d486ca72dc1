from dataclasses import fields

import pytest
from attendant.v1 import generate_pb2 as wire

from server.errors import ParameterInvalid
from server.generation.decoding import MAX_SEED, Decoding
from server.rpc.attendant.decoding import read_decoding


def test_every_parameter_of_the_decoding_is_on_the_wire_and_no_other():
    assert {field.name for field in fields(Decoding)} == set(wire.Decoding.DESCRIPTOR.fields_by_name)


def test_the_default_message_is_the_default_decoding():
    wish = read_decoding(wire.Decoding())
    assert wish.decoding == Decoding(max_tokens=0)
    assert not wish.seeded


def test_zero_means_nothing_except_where_it_has_a_meaning():
    read = read_decoding(wire.Decoding(top_p=0, repetition_penalty=0, num_beams=0, num_sequences=0)).decoding
    assert (read.top_p, read.repetition_penalty, read.num_beams, read.num_sequences) == (1.0, 1.0, 1, 1)
    wish = read_decoding(wire.Decoding(length_penalty=0, seed=0))
    assert (wish.decoding.length_penalty, wish.seeded) == (0.0, True)


def test_numbers_come_exactly():
    read = read_decoding(wire.Decoding(temperature=0.1, length_penalty=-0.6, seed=MAX_SEED)).decoding
    assert (read.temperature, read.length_penalty, read.seed) == (0.1, -0.6, MAX_SEED)


def test_a_seed_that_is_too_large_is_refused():
    with pytest.raises(ParameterInvalid, match="seed is 9223372036854775808"):
        read_decoding(wire.Decoding(seed=MAX_SEED + 1))

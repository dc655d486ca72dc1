import math

import pytest

from server.errors import ParameterInvalid
from server.generation.decoding import MAX_BEAMS, MAX_SEED, MAX_STOP_CHARACTERS, MAX_STOPS, MAX_TOP_LOGPROBS, Decoding


def refused(**choices):
    with pytest.raises(ParameterInvalid) as caught:
        Decoding(**{"max_tokens": 4, **choices}).check()
    return caught.value.metadata["parameter"]


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"min_tokens": 4},
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": MAX_SEED},
        {"num_beams": MAX_BEAMS, "num_sequences": MAX_BEAMS, "length_penalty": -10.0},
        {"logprobs": True, "top_logprobs": MAX_TOP_LOGPROBS},
        {"stop": ("x" * MAX_STOP_CHARACTERS,) * MAX_STOPS},
        {"repetition_penalty": 0.01},
    ],
)
def test_what_makes_sense_is_taken(choices):
    Decoding(**{"max_tokens": 4, **choices}).check()


@pytest.mark.parametrize(
    ("choices", "parameter"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": 1, "top_k": -1}, "top_k"),
        ({"temperature": 1, "top_p": 0.0}, "top_p"),
        ({"temperature": 1, "top_p": 1.1}, "top_p"),
        ({"temperature": 1, "min_p": math.nan}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"seed": -1}, "seed"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": MAX_BEAMS + 1}, "num_beams"),
        ({"num_beams": 2, "length_penalty": 11}, "length_penalty"),
        ({"num_beams": 2, "num_sequences": 3}, "num_sequences"),
        ({"logprobs": True, "top_logprobs": MAX_TOP_LOGPROBS + 1}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"stop": ("",)}, "stop"),
        ({"stop": ("x" * (MAX_STOP_CHARACTERS + 1),)}, "stop"),
        ({"stop": ("x",) * (MAX_STOPS + 1)}, "stop"),
        ({"top_k": 3}, "top_k"),
        ({"top_p": 0.5}, "top_p"),
        ({"min_p": 0.5}, "min_p"),
        ({"num_beams": 2, "temperature": 1}, "num_beams"),
        ({"num_beams": 2, "stop": ("x",)}, "stop"),
        ({"length_penalty": 2.0}, "length_penalty"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(choices, parameter):
    assert refused(**choices) == parameter


def test_it_takes_as_many_rows_as_beams_and_draws_only_with_a_temperature():
    assert (Decoding(max_tokens=1).rows, Decoding(max_tokens=1, num_beams=3).rows) == (1, 3)
    assert (Decoding(max_tokens=1).samples, Decoding(max_tokens=1, temperature=0.1).samples) == (False, True)

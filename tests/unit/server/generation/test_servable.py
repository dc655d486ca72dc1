"""What a version that writes refuses at once, and what it tells of itself."""

import json

import numpy as np
import pytest

from server.codecs.codec import EncodedRow
from server.errors import (
    DeadlineExpired,
    EmptyInput,
    ParameterInvalid,
    RowLimitExceeded,
    SequenceTooLong,
    SignatureMismatch,
    TaskNotSupported,
    UndecodableInput,
)
from server.generation.decoding import Decoding
from tests.support.adder import LONGEST, LONGEST_SOURCE, VOCABULARY

BY_PARTS = {"kind": "shared", "encodes": False, "max_new": 4}


def refusal(desk, inputs=((5, 6),), **more):
    """What `begin` raises on the event loop, before any work."""
    caught = []

    def begin():
        decoding = more.pop("decoding", Decoding(max_tokens=4))
        row = EncodedRow(inputs if isinstance(inputs, dict) else {"ids": np.array(inputs, np.int64)})
        try:
            desk.writer.begin(row, decoding, request_id="r", **more)
        except Exception as error:
            caught.append(error)

    desk.at(0.0, begin)
    desk.run()
    assert caught, "nothing was refused"
    assert not desk.adder.ran
    assert not desk.ledger.reasons
    return caught[0]


@pytest.mark.parametrize(
    ("decoding", "parameter"),
    [
        (Decoding(max_tokens=0), "max_tokens"),
        (Decoding(max_tokens=4, temperature=-1.0), "temperature"),
        (Decoding(max_tokens=4, num_beams=2, temperature=1.0), "num_beams"),
        (Decoding(max_tokens=4, stop=("",)), "stop"),
    ],
)
def test_choices_that_make_no_sense_are_refused(open_desk, decoding, parameter):
    error = refusal(open_desk(), decoding=decoding)
    assert isinstance(error, ParameterInvalid)
    assert error.metadata["parameter"] == parameter


def test_more_new_tokens_than_the_settings_allow_are_refused_with_the_bound(open_desk):
    error = refusal(open_desk(max_tokens=7), decoding=Decoding(max_tokens=8))
    assert isinstance(error, ParameterInvalid)
    assert (error.metadata["parameter"], error.metadata["max_tokens"]) == ("max_tokens", "7")


def test_more_new_tokens_than_the_model_takes_are_refused_with_the_bound(open_desk):
    error = refusal(open_desk(), decoding=Decoding(max_tokens=LONGEST + 1))
    assert (type(error), error.metadata["max_tokens"]) == (ParameterInvalid, str(LONGEST))


def test_prefix_and_new_tokens_together_may_not_be_more_than_the_model_takes(open_desk):
    error = refusal(open_desk(), decoding=Decoding(max_tokens=LONGEST), prefix=(5, 6))
    assert isinstance(error, SequenceTooLong)
    assert error.metadata == {"length": str(LONGEST + 2), "max_length": str(LONGEST)}


def test_prompt_and_new_tokens_together_may_not_be_more_than_the_model_takes(open_desk):
    error = refusal(open_desk(**BY_PARTS), [[5] * 10], decoding=Decoding(max_tokens=LONGEST - 9))
    assert isinstance(error, SequenceTooLong)


def test_a_source_longer_than_the_model_takes_is_refused(open_desk):
    assert isinstance(refusal(open_desk(), [[5] * (LONGEST_SOURCE + 1)]), SequenceTooLong)


def test_states_that_could_never_be_held_are_refused(open_desk):
    error = refusal(open_desk(kind="shared", max_state_bytes=16 * 8), [[5, 6]], decoding=Decoding(max_tokens=20))
    assert isinstance(error, SequenceTooLong)
    assert error.metadata == {"rows": "1", "positions": "20"}


def test_more_beams_than_slots_are_refused(open_desk):
    error = refusal(open_desk(max_rows=2), decoding=Decoding(max_tokens=4, num_beams=3))
    assert (type(error), error.metadata) == (ParameterInvalid, {"parameter": "num_beams", "max_rows": "2"})
    assert "num_beams is 3" in error.message


def test_more_beams_than_rows_may_wait_are_refused_and_not_told_to_try_again(open_desk):
    error = refusal(open_desk(max_waiting=2), decoding=Decoding(max_tokens=4, num_beams=3))
    assert (type(error), error.metadata["max_rows"]) == (ParameterInvalid, "2")


def test_beams_are_refused_where_rows_may_not_share_a_run(open_desk):
    error = refusal(open_desk(together=False), decoding=Decoding(max_tokens=4, num_beams=2))
    assert (type(error), error.metadata["max_rows"]) == (ParameterInvalid, "1")
    assert "do not share runs" in error.message


def test_no_ids_are_refused(open_desk):
    assert isinstance(refusal(open_desk(), np.zeros((1, 0))), EmptyInput)


def test_several_rows_are_refused(open_desk):
    error = refusal(open_desk(), [[5, 6], [7, 8]])
    assert isinstance(error, RowLimitExceeded)


def test_inputs_that_the_model_has_not_are_refused(open_desk):
    error = refusal(open_desk(), {"ids": np.array([[5]]), "more": np.array([[5]])})
    assert isinstance(error, SignatureMismatch)


def test_a_missing_input_is_refused(open_desk):
    assert isinstance(refusal(open_desk(), {}), SignatureMismatch)


@pytest.mark.parametrize("token", [VOCABULARY, -1])
@pytest.mark.parametrize("family", [{}, BY_PARTS])
def test_a_token_outside_the_vocabulary_is_refused(open_desk, family, token):
    error = refusal(open_desk(**family), prefix=(5, token))
    assert isinstance(error, ParameterInvalid)
    assert str(VOCABULARY) in error.message


def test_a_precision_that_is_not_served_is_refused(open_desk):
    error = refusal(open_desk(), precision="int8")
    assert (type(error), error.metadata["parameter"]) == (ParameterInvalid, "precision")


def test_attention_that_the_model_does_not_give_is_refused_by_name(open_desk):
    error = refusal(open_desk(), attention=("look_own",))
    assert (type(error), error.metadata["parameter"]) == (ParameterInvalid, "attention")
    assert "look_own" in error.message
    assert "look_source" in error.message


def test_scores_are_no_attention(open_desk):
    assert isinstance(refusal(open_desk(), attention=("logits",)), ParameterInvalid)


def test_attention_of_a_model_that_gives_none_is_refused(open_desk):
    error = refusal(open_desk(encodes=False), attention=("look_source",))
    assert isinstance(error, ParameterInvalid)


def test_a_deadline_that_has_passed_is_told_as_such(open_desk):
    assert isinstance(refusal(open_desk(), deadline=-1.0), DeadlineExpired)


def test_a_version_that_writes_does_not_answer_at_once(open_desk):
    desk = open_desk()
    with pytest.raises(TaskNotSupported):
        desk.machine.loop.run_until_complete(desk.writer.infer({}, (), request_id="r"))


def test_a_prefix_becomes_tokens_of_the_vocabulary(open_desk):
    writer = open_desk().writer
    assert writer.tokens_of("w5 w6") == (5, 6)
    assert (writer.token_text(7), writer.token_text(VOCABULARY)) == ("w7", "")
    with pytest.raises(UndecodableInput):
        writer.tokens_of("w99")


def test_it_tells_how_it_runs(open_desk):
    desk = open_desk(together=False, max_waiting=9)
    told = desk.writer.told()
    assert (told["precision"], told["precisions"], told["calibrated"]) == ("fp32", "fp32", "false")
    assert json.loads(told["generation"])["fp32"]["threads"] == 1
    assert (len(desk.writer.queue), desk.writer.queue.rows, desk.writer.queue.capacity_rows) == (0, 0, 9)


def test_its_state_tells_slots_bytes_and_who_waits(open_desk):
    desk = open_desk(max_rows=2, stream_buffer=2)
    for number in range(4):
        desk.ask_at(0.0, [5, 6], 12, min_tokens=12, streamed=number == 0, pace=1.0 if number == 0 else 0.0)
    seen = []
    desk.adder.during = lambda kind: seen.append(desk.writer.states[0])
    desk.run()
    first = next(state for state in seen if state.slots_used)
    assert (first.slots_used, first.slots, first.waiting, first.model, first.version) == (2, 2, 2, "adder", 1)
    assert 0 < first.state_bytes < first.state_capacity_bytes
    assert max(state.paused for state in seen) == 1

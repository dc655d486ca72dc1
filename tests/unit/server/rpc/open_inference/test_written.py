import numpy as np

from server.generation.result import FinishReason, TopToken
from server.rpc.open_inference.written import Row, usual_outputs, written_arrays, written_outputs
from server.tensors import NUMPY_DTYPES
from tests.support.writers import writing_model

MANIFEST = writing_model().manifest
ROWS = [
    Row(
        text="größer",
        ids=(3, 2),
        logprobs=(-0.5, -1.0),
        top=((TopToken(3, -0.5), TopToken(1, -2.0)), (TopToken(2, -1.0),)),
        attention={"alignment": np.ones((1, 2, 2, 3), np.float32)},
        score=-1.5,
        finish=FinishReason.STOP,
        seed=2**60,
    ),
    Row(text="", ids=(), finish=FinishReason.END),
]


def test_shorter_rows_are_filled_up_with_what_no_token_has():
    found = written_arrays(ROWS, [spec.name for spec in written_outputs(MANIFEST)[:-1]], top=2)
    assert found["text"].tolist() == ["größer".encode(), b""]
    assert found["finish_reason"].tolist() == [b"stop", b"end"]
    assert found["tokens"].tolist() == [[3, 2], [-1, -1]]
    assert found["logprobs"].tolist() == [[-0.5, -1], [0, 0]]
    assert found["top_tokens"].tolist() == [[[3, 1], [2, -1]], [[-1, -1], [-1, -1]]]
    assert found["top_logprobs"].tolist() == [[[-0.5, -2], [-1, 0]], [[0, 0], [0, 0]]]
    assert found["score"].tolist() == [-1.5, 0]
    assert found["seed"].tolist() == [2**60, 0]
    assert found["alignment"].shape == (2, 2, 2, 3)
    assert found["alignment"].sum(axis=(1, 2, 3)).tolist() == [12, 0]


def test_arrays_are_of_the_datatypes_that_metadata_tells():
    specs = written_outputs(MANIFEST)
    found = written_arrays(ROWS[:1], [spec.name for spec in specs if spec.name != "self_attention"], top=2)
    for spec in specs:
        if spec.name in found:
            assert found[spec.name].dtype == NUMPY_DTYPES[spec.datatype], spec.name
            assert found[spec.name].ndim == len(spec.axes), spec.name


def test_texts_without_tokens_have_outputs_without_tokens():
    found = written_arrays(ROWS[1:], ["tokens", "logprobs", "top_tokens", "alignment"], top=2)
    assert {name: array.shape for name, array in found.items()} == {
        "tokens": (1, 0),
        "logprobs": (1, 0),
        "top_tokens": (1, 0, 2),
        "alignment": (1, 0, 0, 0),
    }


def test_unnamed_outputs_are_those_that_were_asked_for():
    always = ["text", "tokens", "score", "finish_reason", "seed"]
    assert [spec.name for spec in usual_outputs(logprobs=False, top_logprobs=0)] == always
    assert [spec.name for spec in usual_outputs(logprobs=True, top_logprobs=0)] == [*always, "logprobs"]
    assert len(usual_outputs(logprobs=True, top_logprobs=2)) == 8

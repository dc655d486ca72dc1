import numpy as np
import pytest
from attendant.attention import Cells, Tokens
from attendant.common import ModelVersion
from attendant.errors import ServerError
from attendant.generate_stream import GENERATE_STREAM, GenerationStart, IncrementReader, generate_stream_call
from attendant.v1 import attention_pb2, common_pb2, generate_pb2


def labels(*texts: str) -> attention_pb2.AxisLabels:
    return attention_pb2.AxisLabels(tokens=attention_pb2.Tokens(tokens=[{"text": text} for text in texts]))


def keys(name: str, *texts: str, growing: bool = False) -> generate_pb2.AttentionKeys:
    return generate_pb2.AttentionKeys(name=name, labels=labels(*texts) if texts else None, growing=growing)


def looked(name: str, *weights: float, **fields: object) -> attention_pb2.AttentionMap:
    content = np.array([weights], "<f4")
    return attention_pb2.AttentionMap(name=name, shape=content.shape, weights=content.tobytes(), **fields)


def increment(text: str, *maps: attention_pb2.AttentionMap, **fields: object) -> generate_pb2.GenerateStreamResponse:
    tokens = [generate_pb2.GeneratedToken(id=1, text=text)]
    return generate_pb2.GenerateStreamResponse(text=text, tokens=tokens, attention=maps, **fields)


def started(*named: generate_pb2.AttentionKeys) -> IncrementReader:
    reader = IncrementReader()
    start = generate_pb2.GenerationStart(attention=named)
    reader.read(generate_pb2.GenerateStreamResponse(start=start))
    return reader


def names(axis: object) -> list[str]:
    assert isinstance(axis, Tokens)
    return [token.text for token in axis.tokens]


def test_request_carries_every_argument():
    call = generate_stream_call(
        "dates",
        "a",
        prefix="so",
        version=2,
        truncation="cut_end",
        attention=True,
        whole_attention=True,
        request_id="mine",
        temperature=0.5,
    )
    assert (call.method, call.request_id) == (GENERATE_STREAM, "mine")
    assert call.request == generate_pb2.GenerateStreamRequest(
        model=common_pb2.ModelRef(name="dates", version=2),
        input=generate_pb2.GenerateInput(text="a", prefix="so"),
        decoding=generate_pb2.Decoding(temperature=0.5),
        truncation=common_pb2.TRUNCATION_CUT_END,
        attention=attention_pb2.AttentionRequest(reduction=attention_pb2.REDUCTION_MEAN),
        whole_attention=True,
        request_id="mine",
    )


def test_first_middle_and_last_messages_are_told_apart():
    reader = IncrementReader()
    start = generate_pb2.GenerationStart(
        model=common_pb2.ModelVersion(name="dates", version=3), request_id="mine", prompt_tokens=4, seed=9
    )
    first = reader.read(generate_pb2.GenerateStreamResponse(start=start))
    assert first.start == GenerationStart(ModelVersion("dates", 3, ""), "mine", 4, 9, None)
    assert (first.text, first.tokens, first.end) == ("", (), None)
    middle = reader.read(increment("a", at_s=0.5))
    assert (middle.text, middle.at_s, middle.start, middle.end) == ("a", 0.5, None, None)
    end = generate_pb2.GenerationEnd(finish_reason=generate_pb2.FINISH_REASON_LENGTH, score=-1.5)
    last = reader.read(generate_pb2.GenerateStreamResponse(end=end))
    assert last.end is not None
    assert (last.end.finish_reason, last.end.score, last.end.attention) == ("length", -1.5, ())


def test_keys_of_the_source_are_named_in_every_increment():
    reader = started(keys("cross", "x", "y"))
    for text in "ab":
        (found,) = reader.read(increment(text, looked("cross", 0.25, 0.75))).attention
        assert names(found.key) == ["x", "y"]


def test_keys_that_grow_are_named_by_what_was_written():
    reader = started(keys("self", "[START]", growing=True))
    assert names(reader.read(increment("a", looked("self", 1))).attention[0].key) == ["[START]"]
    assert names(reader.read(increment("b", looked("self", 0.5, 0.5))).attention[0].key) == ["[START]", "a"]


def test_the_strongest_keys_are_named_too():
    reader = started(keys("self", "[START]", growing=True))
    chosen = np.array([[1]], "<u4").tobytes()
    reader.read(increment("a"))
    (found,) = reader.read(increment("b", looked("self", 1.0, key_indices=chosen))).attention
    assert found.key is not None
    assert found.key.tokens[1].text == "a"
    assert found.dense().tolist() == [[0, 1, 0]]


def test_cells_stay_cells():
    cells = attention_pb2.AxisLabels(cells=attention_pb2.Cells(rows=1, columns=2))
    reader = started(generate_pb2.AttentionKeys(name="cross", labels=cells))
    assert reader.read(increment("a", looked("cross", 0.5, 0.5))).attention[0].key == Cells(1, 2)


@pytest.mark.parametrize(
    "named", [(), (keys("cross"),), (keys("cross", "one"),), (keys("cross", "one", growing=True),)]
)
def test_keys_that_are_not_all_known_are_not_named(named):
    assert started(*named).read(increment("a", looked("cross", 0.5, 0.25, 0.25))).attention[0].key is None


def test_a_map_that_contradicts_itself_is_an_error():
    with pytest.raises(ServerError):
        IncrementReader().read(increment("a", attention_pb2.AttentionMap(name="cross", shape=[1, 2], weights=b"1234")))

"""NVIDIA's own client, unmodified, against models that write: at once, and by increments as from decoupled ones."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from attendant import Client
from tritonclient.utils import InferenceServerException

from tests.support.generative import publish_tiny_language_model, publish_tiny_recurrent
from tests.support.serving_thread import serving_in_thread

TRANSLATOR, STORY = "tiny-recurrent", "tiny-language-model"
TEXT = "w3 w17 w9 w4"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    publish_tiny_recurrent(folder)
    publish_tiny_language_model(folder)
    return folder


@pytest.fixture(scope="module")
def address(store):
    with serving_in_thread(store) as served:
        yield served.address


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def own(address):
    with Client(address) as client:
        yield client


def texts(*rows: str) -> triton.InferInput:
    found = triton.InferInput("text", [len(rows)], "BYTES")
    found.set_data_from_numpy(np.array([row.encode() for row in rows], dtype=np.object_))
    return found


class Answers:
    """What one stream brought, in its order."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client
        self._queue: queue.Queue = queue.Queue()

    def __enter__(self) -> "Answers":
        self._client.start_stream(lambda result, error: self._queue.put((result, error)))
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream()

    def ask(self, model: str, text: str, request_id: str = "", **arguments: object) -> None:
        self._client.async_stream_infer(model, [texts(text)], request_id=request_id, **arguments)

    def next(self) -> tuple[triton.InferResult, Exception | None]:
        return self._queue.get(timeout=60)

    def until_final(self, requests: int = 1) -> list[triton.InferResult]:
        """All responses until so many requests had their last one."""
        found = []
        while requests:
            result, error = self.next()
            assert error is None
            found.append(result)
            requests -= is_final(result)
        return found


def is_final(result: triton.InferResult) -> bool:
    return result.get_response().parameters["triton_final_response"].bool_param


def joined(results: list[triton.InferResult]) -> str:
    parts = [result.as_numpy("text") for result in results]
    return b"".join(part[0] for part in parts if part is not None).decode()


@pytest.mark.parametrize("model", [TRANSLATOR, STORY])
def test_infer_answers_as_generate_does(client, own, model):
    parameters = {"max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    result = client.infer(model, [texts(TEXT, "w5")], parameters=parameters)
    expected = own.generate(model, [TEXT, "w5"], **parameters)
    assert [text.decode() for text in result.as_numpy("text")] == [each.text for each in expected]
    for row, each in enumerate(expected):
        ids = list(each.best.ids)
        assert result.as_numpy("tokens")[row].tolist()[: len(ids)] == ids
        np.testing.assert_allclose(result.as_numpy("score")[row], each.best.score, rtol=1e-5)
        assert result.as_numpy("finish_reason")[row].decode() == each.best.finish_reason
        logprobs = [token.logprob for token in each.best.tokens]
        np.testing.assert_allclose(result.as_numpy("logprobs")[row][: len(ids)], logprobs, rtol=1e-4)
        assert result.as_numpy("top_tokens")[row][0].tolist() == [token.id for token in each.best.tokens[0].top]


def test_token_ids_are_answered_as_their_text_is(client, own):
    ids = triton.InferInput("input_ids", [1, 4], "INT64")
    ids.set_data_from_numpy(np.array([[3, 17, 9, 4]]))
    mask = triton.InferInput("mask", [1, 4], "BOOL")
    mask.set_data_from_numpy(np.ones((1, 4), np.bool_))
    names = client.get_model_config(TRANSLATOR, as_json=True)["config"]
    assert names["model_transaction_policy"] == {"decoupled": True}
    found = client.infer(TRANSLATOR, [ids, mask], parameters={"max_tokens": 5}).as_numpy("text")[0].decode()
    assert found == own.generate(TRANSLATOR, TEXT, max_tokens=5)[0].text


def test_attention_is_an_output_to_name(client, own):
    wanted = [triton.InferRequestedOutput("alignment")]
    found = client.infer(TRANSLATOR, [texts(TEXT)], outputs=wanted, parameters={"max_tokens": 5}).as_numpy("alignment")
    assert found.shape[-1] == 4
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)


def test_metadata_tells_what_to_send_and_what_comes(client):
    metadata = client.get_model_metadata(STORY, as_json=True)
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert [output["name"] for output in metadata["outputs"]][:4] == ["text", "tokens", "score", "finish_reason"]


@pytest.mark.parametrize("model", [TRANSLATOR, STORY])
def test_a_stream_brings_the_text_in_parts_the_last_one_final(client, own, model):
    with Answers(client) as answers:
        answers.ask(model, TEXT, request_id="mine", parameters={"max_tokens": 6})
        found = answers.until_final()
    expected = own.generate(model, TEXT, max_tokens=6)[0].best
    assert joined(found) == expected.text
    assert [token for result in found for token in result.as_numpy("tokens")[0].tolist()] == list(expected.ids)
    assert [is_final(result) for result in found] == [False] * (len(found) - 1) + [True]
    assert {result.get_response().id for result in found} == {"mine"}
    assert found[-1].as_numpy("finish_reason")[0].decode() == expected.finish_reason
    assert found[0].as_numpy("finish_reason") is None or len(found) == 1


def test_a_stream_ends_with_an_empty_response_where_it_is_asked_for(client):
    with Answers(client) as answers:
        answers.ask(STORY, TEXT, parameters={"max_tokens": 3}, enable_empty_final_response=True)
        found = answers.until_final()
    assert not found[-1].get_response().outputs
    assert found[-2].as_numpy("finish_reason") is not None


def test_requests_of_one_stream_do_not_wait_for_each_other(client, own):
    with Answers(client) as answers:
        for number in range(8):
            answers.ask(STORY, f"w{number + 3} w9", request_id=str(number), parameters={"max_tokens": 8})
        found = answers.until_final(requests=8)
    for number in range(8):
        parts = [result for result in found if result.get_response().id == str(number)]
        assert joined(parts) == own.generate(STORY, f"w{number + 3} w9", max_tokens=8)[0].text
        assert [is_final(part) for part in parts] == [False] * (len(parts) - 1) + [True]


def test_drawn_texts_repeat_with_their_seed(client):
    parameters = {"max_tokens": 8, "temperature": 2.0}
    first = client.infer(STORY, [texts(TEXT)], parameters=parameters)
    again = client.infer(STORY, [texts(TEXT)], parameters={**parameters, "seed": int(first.as_numpy("seed")[0])})
    assert first.as_numpy("tokens").tolist() == again.as_numpy("tokens").tolist()


def test_a_refused_request_leaves_the_stream_alone(client):
    with Answers(client) as answers:
        answers.ask(STORY, TEXT, parameters={"num_beams": 2, "temperature": 1.0})
        _, error = answers.next()
        assert isinstance(error, InferenceServerException)
        assert "exclude each other" in str(error)
        answers.ask(STORY, TEXT, parameters={"max_tokens": 2})
        assert answers.until_final()


async def test_the_asyncio_client_streams_too(address, own):
    async def requests():
        yield {"model_name": STORY, "inputs": [texts(TEXT)], "parameters": {"max_tokens": 4}}

    async with triton_aio.InferenceServerClient(address) as client:
        found = [result async for result, error in client.stream_infer(requests()) if error is None]
    assert is_final(found[-1])
    assert joined(found) == own.generate(STORY, TEXT, max_tokens=4)[0].text


@pytest.mark.parametrize("model", [TRANSLATOR, STORY])
def test_our_own_stream_adds_up_to_what_generate_answers(own, model):
    whole = own.generate(model, TEXT, max_tokens=6, prefix="w4", attention=True)[0].best
    *increments, last = own.generate_stream(
        model, TEXT, max_tokens=6, prefix="w4", attention=True, whole_attention=True
    )
    assert "".join(one.text for one in (*increments, last)) == whole.text
    assert [token.id for one in (*increments, last) for token in one.tokens] == list(whole.ids)
    assert last.end is not None
    assert (last.end.finish_reason, last.end.score) == (whole.finish_reason, whole.score)
    np.testing.assert_allclose(last.end.attention[0].weights, whole.attention[0].weights, atol=1e-5)
    parts = [one.attention[0] for one in (*increments, last) if one.attention]
    for row, part in enumerate(parts):
        keys = part.weights.shape[-1]
        np.testing.assert_allclose(part.weights[0], whole.attention[0].weights[row, :keys], atol=1e-5)
        assert part.key is not None
        assert part.key.tokens[:keys] == whole.attention[0].key.tokens[:keys]


def test_beams_come_whole_in_one_increment(own):
    whole = own.generate(STORY, TEXT, max_tokens=5, num_beams=3, num_sequences=3)[0]
    assert [each.score for each in whole.sequences] == sorted((each.score for each in whole.sequences), reverse=True)
    _, only = own.generate_stream(STORY, TEXT, max_tokens=5, num_beams=3)
    assert (only.text, only.end.score) == (whole.best.text, whole.best.score)

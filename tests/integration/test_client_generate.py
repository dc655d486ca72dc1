"""The client and its command against a server whose models write what they are told."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import attendant
import numpy as np
import pytest
from attendant import AsyncClient, Attention, Client, InvalidInput, NotSupported, Overloaded
from attendant.attention import Tokens
from PIL import Image

from server.errors import ReaderTooSlow
from tests.support.fakes import text_model
from tests.support.reached import reached
from tests.support.writers import Book, serving_writers, writing_model


@pytest.fixture
def book():
    return Book()


@pytest.fixture
async def address(tmp_path, book):
    models = [writing_model(), writing_model("story", encodes=False), text_model()]
    async with serving_writers(book, tmp_path, models) as served:
        yield served.address


@pytest.fixture
async def client(address):
    async with AsyncClient(address) as client:
        yield client


def names(axis: object) -> list[str]:
    assert isinstance(axis, Tokens)
    return [token.text for token in axis.tokens]


async def test_texts_come_back_in_order(client):
    result = await client.generate("dates", ["a b c", "d"], prefix=["g", ""], logprobs=True)
    assert [each.text for each in result] == ["c b a", "d"]
    assert (result[0].best.ids, result[0].best.score, result[0].best.finish_reason) == ((3, 2, 1), -1.5, "end")
    assert [token.logprob for token in result[0].best.tokens] == [-0.5] * 3
    assert [each.prompt_tokens for each in result] == [4, 1]
    assert result.model.name == "dates"


async def test_the_blocking_client_does_the_same(address):
    def call() -> tuple[list[str], str, str]:
        with Client(address) as client:
            result = client.generate("dates", ["a b", "c d"], max_tokens=1)
            stream = client.generate_stream("dates", "a b c", timeout_s=5)
            return [each.text for each in result], result[0].best.finish_reason, "".join(one.text for one in stream)

    assert await asyncio.to_thread(call) == (["b", "d"], "length", "c b a")


async def test_alignments_are_arrays_with_names(client):
    result = await client.generate("dates", "a b c", attention=Attention(names=["cross"]))
    (cross,) = result[0].best.attention
    np.testing.assert_array_equal(cross.weights[0, 0], np.eye(3)[::-1])
    assert (names(cross.query), names(cross.key)) == (["c", "b", "a"], ["a", "b", "c"])


async def test_increments_come_with_their_attention_and_its_keys(client):
    increments = [
        one
        async for one in client.generate_stream("story", "a b", attention=True, whole_attention=True, temperature=1.0)
    ]
    assert "".join(one.text for one in increments) == "b a"
    start, last = increments[0].start, increments[-1].end
    assert start is not None
    assert (start.model.name, start.prompt_tokens, start.seed > 0) == ("story", 2, True)
    assert [names(one.attention[0].key) for one in increments[1:]] == [["[UNK]", "a", "b"], ["[UNK]", "a", "b", "b"]]
    assert [names(one.attention[0].query) for one in increments[1:]] == [["b"], ["a"]]
    assert last is not None
    assert (last.finish_reason, last.score, last.timing.batch_rows) == ("end", -1.0, 3)
    (whole,) = last.attention
    assert (whole.weights.shape, names(whole.key)) == ((2, 4), ["[UNK]", "a", "b", "b"])


async def test_a_stream_that_is_closed_early_ends_at_the_server(client, book):
    book.gate = asyncio.Event()
    async with aclosing(client.generate_stream("dates", "a b c")) as increments:
        async for one in increments:
            if one.text:
                break
    await reached(lambda: book.begun[0].cancelled)
    assert book.begun[0].cancelled == 1


async def test_leaving_the_loop_of_a_blocking_stream_ends_it_at_the_server(address, book):
    book.gate = asyncio.Event()

    def call() -> str:
        with Client(address) as client:
            for one in client.generate_stream("dates", "a b c"):
                if one.text:
                    return one.text
        return ""

    assert await asyncio.to_thread(call) == "c"
    await reached(lambda: book.begun[0].cancelled)
    assert book.begun[0].cancelled == 1


async def test_a_refused_stream_raises_the_typed_error(client):
    with pytest.raises(InvalidInput, match="PARAMETER_INVALID") as caught:
        await anext(client.generate_stream("dates", "a", num_beams=2, temperature=1.0, request_id="mine"))
    assert caught.value.request_id == "mine"
    with pytest.raises(NotSupported):
        await client.generate("areas", "a")


async def test_a_stream_that_fails_raises_after_what_was_written(client, book):
    book.failures[0] = ReaderTooSlow("nobody read")
    seen = []

    async def read() -> None:
        async for one in client.generate_stream("dates", "a b c d"):
            seen.append(one.text)

    with pytest.raises(Overloaded, match="READER_TOO_SLOW"):
        await read()
    assert "".join(seen) == "d c"


async def test_arguments_that_cannot_be_sent_raise_at_once(address):
    with Client(address) as client:
        with pytest.raises(TypeError, match="warmth"):
            client.generate_stream("dates", "a", warmth=1)
        with pytest.raises(ValueError):
            client.generate_stream("dates", "a", max_tokens=-1)


# --- the command ---


async def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs it while the server, which shares this loop, answers."""
    package = Path(attendant.__file__).parents[1]
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "attendant", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "100"},
    )


async def test_command_prints_texts(address, tmp_path):
    (tmp_path / "note.txt").write_text("d e", encoding="utf-8")
    done = await command("generate", "dates", "a b c", str(tmp_path / "note.txt"), "--address", address)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("dates version 1")
    assert {"a b c", "c b a", "e d"} <= set(lines)
    assert "3 tokens, end, score -1.500" in lines


async def test_command_prints_a_stream_as_plain_text(address):
    done = await command("generate", "dates", "a b c", "d e", "--stream", "--address", address)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"c b a\ne d\n", b"")


async def test_command_passes_its_options(address, book):
    arguments = ["--max-tokens", "2", "--temperature", "0.5", "--seed", "7", "--top-k", "3", "--prefix", "g"]
    done = await command("generate", "dates", "a", *arguments, "--stop", "x", "--json", "--address", address)
    assert done.returncode == 0
    decoding = book.begun[0].decoding
    assert (decoding.max_tokens, decoding.temperature, decoding.seed, decoding.top_k) == (2, 0.5, 7, 3)
    assert (decoding.stop, book.begun[0].prefix) == (("x",), (7,))
    printed = json.loads(done.stdout)["results"][0]
    assert (printed["sequences"][0]["text"], printed["seed"], printed["prompt_tokens"]) == ("a", 7, 2)


async def test_command_prints_a_line_of_json_for_each_increment(address):
    done = await command("generate", "dates", "a b", "--stream", "--json", "--address", address)
    first, *middle, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["model"]["name"] == "dates"
    assert "".join(line["text"] for line in (*middle, last)) == "b a"
    assert (last["finish_reason"], last["score"]) == ("end", -1.0)


async def test_command_draws_the_alignment_of_each_text(address, tmp_path):
    one = await command("generate", "dates", "a b", "--attention", str(tmp_path / "one.png"), "--address", address)
    target = str(tmp_path / "map.png")
    both = await command("generate", "dates", "a b", "c d", "--stream", "--attention", target, "--address", address)
    assert (one.returncode, both.returncode) == (0, 0)
    for name in ("one.png", "map-1.png", "map-2.png"):
        with Image.open(tmp_path / name) as drawn:
            assert min(drawn.size) > 2 * 24


async def test_command_exits_1_with_the_reason_when_refused(address):
    done = await command(
        "generate", "dates", "a", "--beams", "2", "--temperature", "1", "--stream", "--address", address
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"attendant: PARAMETER_INVALID: beam search and sampling exclude each other")

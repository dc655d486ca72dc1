"""Imported encoder-decoders, served: what transformers' own `generate` writes, alone and in a crowd."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

from server.codecs import Truncation
from server.codecs.codec import EncodedRow
from server.generation.decoding import Decoding
from tests.support.hugging_face import EXPORTS, imported
from tests.support.serving import serving


@pytest.fixture(params=EXPORTS)
def model(request):
    return imported(request.param)


@asynccontextmanager
async def served(model):
    async with serving(model.store) as server:
        yield server.application.registry.resolve(model.name)


def row(source: list[int]) -> EncodedRow:
    ids = np.array([source])
    return EncodedRow({"input_ids": ids, "attention_mask": np.ones_like(ids, dtype=np.bool_)}, kept_tokens=len(source))


async def write(servable, source: EncodedRow, **choices):
    choices.setdefault("max_tokens", servable.manifest.generation.max_tokens)
    return await servable.begin(source, Decoding(**choices), request_id="import").result()


def text_of(model, written: list[int]) -> tuple[int, ...]:
    """What the library wrote, without what it began with and from the end on."""
    spec = model.manifest.generation
    assert tuple(written[: len(spec.start)]) == spec.start
    ids = written[len(spec.start) :]
    return tuple(ids[: next((at for at, token in enumerate(ids) if token in spec.end), len(ids))])


async def test_alone_it_writes_what_generate_writes(model):
    async with served(model) as servable:
        for example in model.expected["greedy"]:
            answer = await write(servable, row(example["source"]))
            assert answer.sequences[0].ids == text_of(model, example["written"])


async def test_in_a_crowd_it_writes_what_generate_writes(model):
    examples = model.expected["greedy"]
    async with served(model) as servable:
        answers = await asyncio.gather(*(write(servable, row(example["source"])) for example in examples))
    assert [answer.sequences[0].ids for answer in answers] == [
        text_of(model, example["written"]) for example in examples
    ]
    assert max(answer.timing.batch_rows for answer in answers) > 1


async def test_beams_are_those_of_generate(model):
    spec = model.manifest.generation
    async with served(model) as servable:
        for example in model.expected["beams"]:
            beams = len(example["written"])
            answer = await write(
                servable,
                row(example["source"]),
                num_beams=beams,
                num_sequences=beams,
                length_penalty=example["length_penalty"],
                max_tokens=example["max_length"] - len(spec.start),
            )
            assert [found.ids for found in answer.sequences] == [text_of(model, ids) for ids in example["written"]]
            assert [found.score for found in answer.sequences] == pytest.approx(example["scores"], abs=1e-3)


async def test_texts_are_cut_and_put_together_as_by_the_librarys_tokenizer(model):
    known = model.manifest.provenance.config["vocab_size"]
    async with served(model) as servable:
        for example in model.expected["texts"]:
            source = await servable.encode(example["text"], Truncation.REFUSE)
            ids = source.inputs["input_ids"][0]
            assert np.where(ids < known, ids, example["unknown"]).tolist() == example["source"]
            answer = await write(servable, source)
            assert answer.sequences[0].text.strip() == example["answer"]

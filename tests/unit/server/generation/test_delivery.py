"""What callers are told, of requests whose tokens are given by hand."""

import asyncio

import pytest

from server.generation.decoding import Decoding
from server.generation.delivery import Delivery
from server.generation.reader import Reader
from server.generation.request import GenerationRequest
from server.generation.result import FinishReason
from server.generation.text import Detokenizer
from tests.support.writing import write_words


@pytest.fixture
def delivery(tmp_path):
    write_words(tmp_path / "tokenizer.json", 24)
    return Delivery(Detokenizer(tmp_path))


def ask(delivery, *, streamed=False, context=(2,), **decoding):
    request = GenerationRequest(
        request_id="r",
        encoded=None,
        feed=context,
        prompt_tokens=3,
        context=context,
        decoding=Decoding(**{"max_tokens": 8, **decoding}),
        maps=(),
        enqueued_at=1.0,
        deadline=None,
        reply=asyncio.get_running_loop().create_future(),
        reader=Reader(8) if streamed else None,
    )
    delivery.prepare(request)
    return request


def write(delivery, request, *tokens, finish=None):
    """As the lane does after a step that wrote these."""
    request.ids += tokens
    request.finish = finish
    request.last_at = 2.0
    delivery.watch(request)
    delivery.increment(request)()
    if request.finish is not None:
        delivery.result(request)


async def increments(request):
    found = []
    while (one := await request.reader.get()) is not None:
        found.append((one.ids, one.text, one.finish))
    return found


def sequence(request):
    return request.reply.result().sequences[0]


async def test_increments_are_the_tokens_since_the_last(delivery):
    request = ask(delivery, streamed=True)
    write(delivery, request, 5)
    write(delivery, request, 6)
    write(delivery, request, finish=FinishReason.END)
    assert await increments(request) == [((5,), "w5", None), ((6,), " w6", None), ((), "", FinishReason.END)]
    assert sequence(request).text == "w5 w6"


async def test_nothing_new_is_not_told(delivery):
    request = ask(delivery, streamed=True)
    write(delivery, request)
    assert not request.reader._unread


async def test_text_that_may_become_a_stop_string_is_held_back(delivery):
    request = ask(delivery, streamed=True, stop=("w6 w7",))
    for token in (5, 6, 8, 6):
        write(delivery, request, token)
    write(delivery, request, 7)
    assert request.finish is FinishReason.STOP
    found = await increments(request)
    assert [text for _, text, _ in found] == ["w5", " ", "w6 w8", " ", ""]
    assert [token for ids, _, _ in found for token in ids] == [5, 6, 8, 6, 7]
    assert (sequence(request).text, sequence(request).finish) == ("w5 w6 w8 ", FinishReason.STOP)


async def test_a_stop_string_in_the_last_token_is_told_alike_to_readers_and_at_the_end(delivery):
    request = ask(delivery, streamed=True, stop=("w6",))
    write(delivery, request, 5)
    write(delivery, request, 6, finish=FinishReason.LENGTH)
    assert [finish for _, _, finish in await increments(request)] == [None, FinishReason.STOP]
    assert sequence(request).finish is FinishReason.STOP


async def test_a_stop_string_that_is_certain_only_at_the_end_stops(delivery):
    """The tokenizer gives the last character only when nothing can follow."""
    request = ask(delivery, streamed=True, stop=("w6",))
    decode = request.text._decode
    request.text._decode = lambda ids: decode(ids).replace("w6", "w\N{REPLACEMENT CHARACTER}")
    request.text._stops = ("w\N{REPLACEMENT CHARACTER}",)
    write(delivery, request, 5)
    write(delivery, request, 6, finish=FinishReason.LENGTH)
    assert [finish for _, _, finish in await increments(request)] == [None, FinishReason.STOP]
    assert sequence(request).text == "w5 "


async def test_a_stop_string_before_min_tokens_is_part_of_the_text(delivery):
    request = ask(delivery, stop=("w6",), min_tokens=3)
    write(delivery, request, 5)
    write(delivery, request, 6)
    write(delivery, request, 7)
    assert request.finish is None
    write(delivery, request, 6)
    assert (request.finish, sequence(request).text) == (FinishReason.STOP, "w5 w6 w7 ")


async def test_a_text_nobody_reads_is_decoded_at_its_end(delivery):
    request = ask(delivery)
    assert request.text is None
    request.ids += [5, 6]
    write(delivery, request, finish=FinishReason.END)
    assert sequence(request).text == "w5 w6"


async def test_what_follows_a_prefix_has_the_space_that_it_has_there(delivery):
    request = ask(delivery, context=(2, 9))
    request.ids += [5, 6]
    write(delivery, request, finish=FinishReason.END)
    assert sequence(request).text == " w5 w6"


async def test_times_count_from_admission(delivery):
    request = ask(delivery)
    request.joined_at, request.first_at = 1.25, 1.5
    request.ids.append(5)
    write(delivery, request, finish=FinishReason.END)
    timing = request.reply.result().timing
    assert (timing.queue_s, timing.first_token_s) == (0.25, 0.5)


async def test_a_request_that_nobody_waits_for_is_not_answered(delivery):
    request = ask(delivery)
    request.reply.cancel()
    write(delivery, request, 5, finish=FinishReason.END)
    assert request.reply.cancelled()

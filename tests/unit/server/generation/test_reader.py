import asyncio

import pytest

from server.errors import ReaderTooSlow
from server.generation.reader import Reader
from server.generation.result import FinishReason, Increment


def increment(token, finish=None):
    return Increment(ids=(token,), text=str(token), finish=finish)


async def read_all(reader):
    found = []
    while (one := await reader.get()) is not None:
        found.append(one.ids[0])
    return found


async def test_increments_are_read_in_order_up_to_the_last():
    reader = Reader(8)
    reader.put(increment(1))
    reader.put(increment(2, FinishReason.END))
    assert await read_all(reader) == [1, 2]
    assert await reader.get() is None, "and again"


async def test_a_reader_waits_for_what_is_not_there_yet():
    reader = Reader(8)
    reading = asyncio.ensure_future(read_all(reader))
    await asyncio.sleep(0)
    reader.put(increment(1))
    await asyncio.sleep(0)
    assert not reading.done()
    reader.put(increment(2, FinishReason.LENGTH))
    assert await reading == [1, 2]


async def test_an_error_comes_after_what_is_unread():
    reader = Reader(8)
    reader.put(increment(1))
    reader.fail(ReaderTooSlow("slow"))
    assert (await reader.get()).ids == (1,)
    with pytest.raises(ReaderTooSlow):
        await reader.get()
    with pytest.raises(ReaderTooSlow):
        await reader.get()


async def test_an_error_reaches_a_reader_that_waits():
    reader = Reader(8)
    reading = asyncio.ensure_future(reader.get())
    await asyncio.sleep(0)
    reader.fail(ReaderTooSlow("slow"))
    with pytest.raises(ReaderTooSlow):
        await reading


async def test_it_is_full_at_its_capacity_and_has_room_when_half_is_read():
    reader, told = Reader(4), []
    reader.on_room = lambda: told.append(len(reader._unread))
    for number in range(4):
        assert not reader.full
        reader.put(increment(number))
    assert reader.full
    await reader.get()
    assert not told
    await reader.get()
    assert told == [2]


async def test_a_capacity_of_one_has_room_when_it_is_empty():
    reader, told = Reader(1), []
    reader.on_room = lambda: told.append(len(reader._unread))
    reader.put(increment(1))
    assert reader.full
    await reader.get()
    assert told == [0]

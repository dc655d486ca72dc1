import asyncio

from server.rpc.unsent import MIN_PRUNED, Unsent


async def test_a_task_is_unsent_until_it_has_ended():
    unsent, leave = Unsent(), asyncio.Event()

    async def call():
        unsent.add_current()
        await leave.wait()

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    assert unsent.tasks() == [task]
    leave.set()
    await task
    assert unsent.tasks() == []


async def test_tasks_that_have_ended_are_let_go_of_while_others_go_on():
    unsent, leave = Unsent(), asyncio.Event()

    async def call(event=None):
        unsent.add_current()
        if event:
            await event.wait()

    watching = [asyncio.ensure_future(call(leave)) for _ in range(3)]
    for _ in range(10 * MIN_PRUNED):
        await asyncio.ensure_future(call())
    assert len(unsent) <= MIN_PRUNED
    assert unsent.tasks() == watching
    leave.set()
    await asyncio.gather(*watching)


async def test_as_many_as_are_open_are_kept():
    unsent, leave = Unsent(), asyncio.Event()

    async def call():
        unsent.add_current()
        await leave.wait()

    open_ones = [asyncio.ensure_future(call()) for _ in range(3 * MIN_PRUNED)]
    await asyncio.sleep(0)
    assert unsent.tasks() == open_ones
    leave.set()
    await asyncio.gather(*open_ones)

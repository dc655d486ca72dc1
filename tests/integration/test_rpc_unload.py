"""What a call that has begun sees of an unload: nothing."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.support.calls import Caller, classify_request, floats, infer_request, png
from tests.support.fakes import GatedModel, image_model, make_settings, serving_fakes

IMAGE = np.array([png()], dtype=np.object_)


@pytest.mark.parametrize(
    "call",
    [
        lambda caller: caller.classify(classify_request("digits", png())),
        lambda caller: caller.infer(infer_request("digits", image=IMAGE)),
    ],
    ids=["Classify", "ModelInfer"],
)
async def test_a_call_whose_image_is_still_being_decoded_is_answered_by_the_version_it_found(tmp_path, call):
    gated = GatedModel()
    settings = make_settings(batching={"max_batch_rows": 1})
    async with (
        serving_fakes([image_model(), gated.model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Caller(channel)
        # Runs and decoding share two threads here: these two runs keep the image from being decoded.
        holding = [asyncio.ensure_future(caller.infer(infer_request("gated", x=floats(1)))) for _ in range(2)]
        await until_in_flight(served.rpc, 2)
        decoding = asyncio.ensure_future(call(caller))
        await until_in_flight(served.rpc, 3)
        unloading = asyncio.ensure_future(served.registry.unload("digits"))
        await asyncio.sleep(0.05)
        assert not decoding.done()
        gated.gate.set()
        await decoding
        await asyncio.wait_for(unloading, 20)
        await asyncio.gather(*holding)


async def until_in_flight(rpc, calls: int) -> None:
    async with asyncio.timeout(20):
        while rpc.in_flight < calls:
            await asyncio.sleep(0.01)

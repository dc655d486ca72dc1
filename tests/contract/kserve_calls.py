"""Calls a server with KServe's own client and prints what came back as JSON; run as a process of its own.

The client registers its messages under the same names as tritonclient, so that the two cannot share a process.
"""

import asyncio
import json
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

INTEGERS = ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"]
DATATYPES = ["BOOL", *INTEGERS, "FP16", "FP32", "FP64", "BYTES"]


def request(model: str, name: str, datatype: str, array: np.ndarray, **fields: object) -> InferRequest:
    item = InferInput(name, list(array.shape), datatype)
    item.set_data_from_numpy(array, binary_data=fields.pop("binary_data", True))
    return InferRequest(model, [item], **fields)


async def echo(client: InferenceGRPCClient, datatype: str, binary_data: bool) -> bool:
    if datatype == "BYTES":
        array = np.array([[b"a", b"bc"]], dtype=np.object_)
    else:
        array = np.array([[0, 1]]).astype({"BOOL": "bool"}.get(datatype, datatype.lower().replace("fp", "float")))
    response = await client.infer(request(f"echo_{datatype.lower()}", "x", datatype, array, binary_data=binary_data))
    found = response.outputs[0].as_numpy()
    return found.dtype == array.dtype and found.tolist() == array.tolist()


async def refusal(client: InferenceGRPCClient, infer_request: InferRequest) -> str:
    try:
        await client.infer(infer_request)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


async def main(address: str) -> dict[str, object]:
    text = np.array([b"a b", b"b b e"], dtype=np.object_)
    ones = np.ones((1, 1), dtype=np.float32)
    async with InferenceGRPCClient(address, timeout=30, retries=3) as client:
        named = await client.infer(
            request(
                "areas",
                "text",
                "BYTES",
                text,
                request_id="mine",
                request_outputs=[RequestedOutput("logits"), RequestedOutput("attention_0")],
            )
        )
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready("areas"),
            "unknown_ready": await client.is_model_ready("nobody"),
            "raw": {datatype: await echo(client, datatype, True) for datatype in DATATYPES},
            "typed": {datatype: await echo(client, datatype, False) for datatype in DATATYPES if datatype != "FP16"},
            "named": {
                "id": named.id,
                "model": named.model_name,
                "version": named.model_version,
                "outputs": [output.name for output in named.outputs],
                "logits": named.outputs[0].as_numpy().tolist(),
            },
            "unknown": await refusal(client, request("nobody", "x", "FP32", ones)),
            "mismatch": await refusal(client, request("echo_fp64", "x", "FP32", ones)),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))

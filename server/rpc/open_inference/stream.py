"""ModelStreamInfer: what one request of a stream is answered with.

As for Triton's models that answer once: the responses keep the order of the requests. Triton's clients hand a failed
request on without its id, so that its place is all that a caller has to know it by. A model that writes is one of
Triton's decoupled models: it answers with as many responses as its text has increments, and waits for no other request.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.rpc.call import Call
from server.rpc.open_inference.infer import Inference
from server.rpc.status import RichStatus
from server.wire.grpc_service_pb2 import ModelInferRequest, ModelStreamInferResponse

STRICT_HEADER = "triton_grpc_error"
"""Set to `true`, the first failure ends the stream with its status."""
FINAL_RESPONSE = "triton_final_response"
"""Whether a response is the last one to its request; of a model that answers once every response is."""
REASON = "reason"
"""The ErrorInfo's reason, which a stream has no other place for."""


async def stream_infer(inference: Inference, request: ModelInferRequest, call: Call) -> ModelStreamInferResponse:
    """The one response to a request. Raises what `Inference.infer` raises."""
    response = await inference.infer(request, call)
    response.parameters[FINAL_RESPONSE].bool_param = True
    return ModelStreamInferResponse(infer_response=response)


async def stream_increments(
    inference: Inference, request: ModelInferRequest, call: Call
) -> AsyncGenerator[ModelStreamInferResponse, None]:
    """The responses to a request to a model that writes. Raises what `Inference.increments` raises."""
    async with aclosing(inference.increments(request, call)) as responses:
        async for response, final in responses:
            response.parameters[FINAL_RESPONSE].bool_param = final
            yield ModelStreamInferResponse(infer_response=response)


def refused(request: ModelInferRequest | None, status: RichStatus) -> ModelStreamInferResponse:
    """The response to a request that failed: the message, the reason, and what the request called itself."""
    told = ModelStreamInferResponse(error_message=status.details)
    told.infer_response.parameters[FINAL_RESPONSE].bool_param = True
    told.infer_response.parameters[REASON].string_param = status.reason
    if request is not None:
        told.infer_response.id = request.id
        told.infer_response.model_name = request.model_name
        told.infer_response.model_version = request.model_version
    return told

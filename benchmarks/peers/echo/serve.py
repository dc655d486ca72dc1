"""A bare grpc.aio server with uvloop: one method, and its answer is its request."""

import asyncio
import os
import signal

import grpc
import uvloop

METHOD = "/echo.Echo/Echo"


async def serve(port: int) -> None:
    """Serves until SIGTERM."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=None)


async def _echo(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
    return request


if __name__ == "__main__":
    uvloop.run(serve(int(os.environ["BENCH_PORT"])))

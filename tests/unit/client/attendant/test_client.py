import inspect

from attendant import AsyncClient, Client

EXPECTED = {"attend", "classify", "generate", "generate_stream", "health", "wait_ready", "close"}
STREAMED = {"generate_stream"}


def public(kind: type) -> dict[str, object]:
    return {name: method for name, method in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_both_clients_have_the_same_methods():
    assert set(public(Client)) == set(public(AsyncClient)) == EXPECTED


def test_both_clients_take_the_same_arguments():
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    for name, method in public(Client).items():
        twin = inspect.signature(public(AsyncClient)[name])
        assert inspect.signature(method).parameters == twin.parameters, name


def test_every_public_method_of_the_asyncio_client_is_a_coroutine_or_a_generator():
    for name, method in public(AsyncClient).items():
        kind = inspect.isasyncgenfunction if name in STREAMED else inspect.iscoroutinefunction
        assert kind(method), name

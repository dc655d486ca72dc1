import inspect

from attendant import AsyncClient, Client

EXPECTED = {"attend", "classify", "health", "wait_ready", "close"}


def public(kind: type) -> dict[str, object]:
    return {name: method for name, method in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_both_clients_have_the_same_methods():
    assert set(public(Client)) == set(public(AsyncClient)) == EXPECTED


def test_both_clients_take_the_same_arguments():
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    for name, method in public(Client).items():
        assert inspect.signature(method) == inspect.signature(public(AsyncClient)[name]), name


def test_every_public_method_of_the_asyncio_client_is_a_coroutine():
    assert all(inspect.iscoroutinefunction(method) for method in public(AsyncClient).values())

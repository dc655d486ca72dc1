import pytest
import torch

from models.networks import (
    LanguageModel,
    LanguageModelConfig,
    RecurrentTranslator,
    RecurrentTranslatorConfig,
    Translator,
    TranslatorConfig,
)
from models.networks.stepwise import torch_dtype
from server.tensors import Datatype

FAMILIES = {
    "transformer": lambda: Translator(TranslatorConfig.tiny()),
    "recurrent": lambda: RecurrentTranslator(RecurrentTranslatorConfig.tiny()),
    "language model": lambda: LanguageModel(LanguageModelConfig.tiny()),
}


@pytest.fixture(params=FAMILIES.keys())
def network(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


def sources(network, lengths=(9, 4, 6), padding=0):
    """Padded sources; nothing where there is none to read."""
    if not network.encodes:
        return ()
    width = max(lengths) + padding
    ids = torch.randint(network.config.vocab_size, (len(lengths), width))
    return ids, torch.arange(width) < torch.tensor(lengths)[:, None]


def tokens_of(network, rows, length):
    return torch.randint(3, network.generation.vocab_size, (rows, length))


def lengths_of(network, held):
    return torch.tensor(held, dtype=torch.int32) if network.takes_lengths else None


@torch.inference_mode()
def written(network, started, tokens, chunks, capacity=20):
    """The logits after each chunk of tokens, fed one chunk after another."""
    states = network.first_states(started, len(tokens), capacity)
    logits, held = [], 0
    for size in chunks:
        step = network.step(
            tokens[:, held : held + size], lengths_of(network, [held] * len(tokens)), *states, maps=False
        )
        states = network.next_states(states, step.states)
        logits.append(step.logits)
        held += size
    return torch.stack(logits, dim=1)


def test_steps_give_what_one_run_over_all_tokens_gives(network):
    given, tokens = sources(network), tokens_of(network, 3, 7)
    with torch.inference_mode():
        expected = network(*given, tokens)
        started = network.start(*given) if given else ()
    torch.testing.assert_close(written(network, started, tokens, [1] * 7), expected, atol=1e-5, rtol=1e-4)


def test_several_tokens_in_a_step_are_as_one_after_another(network):
    given, tokens = sources(network, (5,)), tokens_of(network, 1, 7)
    with torch.inference_mode():
        expected = network(*given, tokens)[:, [2, 3, 6]]
        started = network.start(*given) if given else ()
    torch.testing.assert_close(written(network, started, tokens, [3, 1, 3]), expected, atol=1e-5, rtol=1e-4)


def test_rows_that_hold_different_lengths_step_together(network):
    if not network.takes_lengths:
        pytest.skip("its states do not grow")
    given, tokens = sources(network), tokens_of(network, 3, 6)
    with torch.inference_mode():
        expected = network(*given, tokens)
        started = network.start(*given) if given else ()
        states = network.first_states(started, 3, 20)
        for row, held in enumerate((0, 2, 5)):
            if held:
                own = tuple(state[row : row + 1] for state in states)
                step = network.step(tokens[row : row + 1, :held], lengths_of(network, [0]), *own)
                for state, after in zip(states, network.next_states(own, step.states), strict=True):
                    state[row : row + 1] = after
        step = network.step(tokens[[0, 1, 2], [0, 2, 5]][:, None], lengths_of(network, [0, 2, 5]), *states)
    torch.testing.assert_close(step.logits, expected[[0, 1, 2], [0, 2, 5]], atol=1e-5, rtol=1e-4)


def test_what_a_row_does_not_hold_is_never_read(network):
    given, tokens = sources(network), tokens_of(network, 3, 4)
    with torch.inference_mode():
        started = network.start(*given) if given else ()
        states = network.first_states(started, 3, 9)
        clean = network.step(tokens[:, :1], lengths_of(network, [0, 0, 0]), *states)
        stale = tuple(
            torch.full_like(state, 3e8) if spec.kind == "append" else state
            for spec, state in zip(network.states, states, strict=True)
        )
        step = network.step(tokens[:, :1], lengths_of(network, [0, 0, 0]), *stale)
    torch.testing.assert_close(step.logits, clean.logits)


def test_source_padding_changes_nothing(network):
    if not network.encodes:
        pytest.skip("it reads no source")
    torch.manual_seed(3)
    ids, mask = sources(network, (9, 4, 1), padding=5)
    tokens = tokens_of(network, 3, 5)
    with torch.inference_mode():
        together = network(ids, mask, tokens)
        for row, length in enumerate((9, 4, 1)):
            alone = network(ids[[row], :length], mask[[row], :length], tokens[[row]])
            torch.testing.assert_close(together[[row]], alone, atol=1e-5, rtol=1e-4)


def test_tokens_that_follow_change_nothing_before_them(network):
    given, tokens = sources(network), tokens_of(network, 3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(*given, tokens)[:, :5], network(*given, tokens[:, :5]), atol=1e-5, rtol=1e-4)


def test_specifications_are_what_a_step_takes_and_returns(network):
    given, tokens = sources(network), tokens_of(network, 3, 1)
    started = network.start(*given) if given else ()
    states = network.first_states(started, 3, 9)
    step = network.step(tokens, lengths_of(network, [0, 0, 0]), *states)
    assert len(states) == len(network.states)
    for spec, state in zip(network.states, states, strict=True):
        assert state.dtype == torch_dtype(spec.datatype)
        assert len(spec.axes) == state.dim()
        assert all(axis.size == size for axis, size in zip(spec.axes, state.shape, strict=True) if axis.kind == "fixed")
    assert len(step.states) == sum(spec.output is not None for spec in network.states)
    assert step.logits.shape == (3, network.generation.vocab_size)
    assert len(step.attention) == len(network.outputs) - 1
    assert [name for spec in network.attention for name in spec.outputs] == [
        spec.name for spec in network.outputs if spec.role == "attention"
    ]


def test_weights_of_a_step_sum_to_one(network):
    given, tokens = sources(network), tokens_of(network, 3, 1)
    started = network.start(*given) if given else ()
    step = network.step(tokens, lengths_of(network, [0, 0, 0]), *network.first_states(started, 3, 9))
    for weights in step.attention:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_without_maps_there_are_none_and_the_logits_are_the_same(network):
    given, tokens = sources(network), tokens_of(network, 3, 1)
    started = network.start(*given) if given else ()
    states = network.first_states(started, 3, 9)
    plain = network.step(tokens, lengths_of(network, [0, 0, 0]), *states, maps=False)
    assert plain.attention == ()
    torch.testing.assert_close(plain.logits, network.step(tokens, lengths_of(network, [0] * 3), *states).logits)


def test_every_parameter_learns(network):
    network.train()
    given, tokens = sources(network), tokens_of(network, 3, 6)
    network(*given, tokens).logsumexp(dim=-1).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_network_without_a_source_has_no_start():
    with pytest.raises(TypeError, match="reads no source"):
        LanguageModel(LanguageModelConfig.tiny()).start()


def test_lengths_are_needed_where_states_grow():
    network = LanguageModel(LanguageModelConfig.tiny())
    with pytest.raises(ValueError, match="lengths"):
        network.step(tokens_of(network, 1, 1), None, *network.first_states((), 1, 4))


@pytest.mark.parametrize(("datatype", "expected"), [(Datatype.INT32, torch.int32), (Datatype.BOOL, torch.bool)])
def test_datatypes_have_their_names_in_torch(datatype, expected):
    assert torch_dtype(datatype) == expected

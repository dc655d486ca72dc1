"""The properties that every catalogued mechanism has; each one's formula is tested in its own file."""

import importlib
import inspect
import pkgutil
import re

import pytest
import torch
from torch import Tensor, nn

import models.attention
from models.attention import causal_mask
from models.attention.catalogue import MECHANISMS, Catalogued, Scale, Sizes, mechanism
from tests.support.catalogued import Inputs, built, drawn, leaves

SIZES = Sizes(B=2, T=6, S=7)
SQUARE = Sizes(B=2, T=6, S=6)
OTHER_SCALE = Scale(d_model=24, num_heads=6, d_ff=40, max_len=9, block=3, window=1, vocab_size=5)


def key_letter(entry: Catalogued) -> str:
    """Which letter counts the keys: that of the mask's last axis. T where queries and keys are one sequence."""
    axes = entry.dynamic["mask"]
    return axes[max(axes)]


def entries(keep=lambda entry: True):
    kept = [entry for entry in MECHANISMS if keep(entry)]
    return pytest.mark.parametrize("entry", kept, ids=[entry.name for entry in kept])


every_mechanism = entries()
every_masked = entries(lambda entry: "mask" in entry.dynamic)
every_queried = entries(lambda entry: "query" in entry.dynamic)


def kept_keys(entry: Catalogued, mask: Tensor, weights: Tensor) -> Tensor:
    """Which weights belong to keys that may be attended to, of the shape of the weights."""
    kept = mask.expand(weights.shape)
    return kept & causal_mask(*weights.shape[-2:])[0, 0] if entry.causal else kept


def along(entry: Catalogued, inputs: Inputs, letter: str, change) -> Inputs:
    """The inputs, with `change(tensor, axis)` in place of each that has an axis of this letter."""
    changed = dict(inputs)
    for name, axes in entry.dynamic.items():
        for axis, named in axes.items():
            if named == letter:
                changed[name] = change(changed[name], axis)
    return changed


def replaced(tensor: Tensor, axis: int, start: int) -> Tensor:
    """The same up to `start`, and something else from there; masks stay as they are."""
    if tensor.dtype == torch.bool:
        return tensor
    kept, rest = tensor.narrow(axis, 0, start), tensor.narrow(axis, start, tensor.shape[axis] - start)
    other = torch.randn_like(rest) if rest.is_floating_point() else torch.zeros_like(rest)
    return torch.cat((kept, other), dim=axis)


def test_names_are_kebab_case_and_unlike_each_other():
    names = [entry.name for entry in MECHANISMS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_mechanism_is_found_by_name_and_an_unknown_name_lists_those_there_are():
    assert mechanism("dot").name == "dot"
    with pytest.raises(KeyError, match="no mechanism is called 'dots'; those are additive, dot, "):
        mechanism("dots")


def test_every_public_module_of_the_package_is_catalogued_or_part_of_what_is():
    catalogued = {type(part) for entry in MECHANISMS for part in entry.build().modules()}
    for found in pkgutil.iter_modules(models.attention.__path__):
        module = importlib.import_module(f"models.attention.{found.name}")
        for name, thing in inspect.getmembers(module, inspect.isclass):
            if issubclass(thing, nn.Module) and thing.__module__ == module.__name__ and not name.startswith("_"):
                assert thing in catalogued or inspect.isabstract(thing), f"{name} is in no entry of MECHANISMS"


@every_mechanism
def test_entry_says_what_it_is_and_names_the_axes_of_its_inputs(entry):
    assert entry.title
    assert entry.formula
    assert entry.source
    assert entry.cost
    inputs = drawn(entry, SIZES)
    assert set(inputs) == set(entry.dynamic)
    for name, axes in entry.dynamic.items():
        assert {axis: inputs[name].shape[axis] for axis in axes} == {
            axis: getattr(SIZES, letter) for axis, letter in axes.items()
        }


@every_mechanism
def test_is_built_at_another_scale_and_takes_its_inputs(entry):
    inputs = entry.inputs(torch.Generator().manual_seed(0), SIZES, OTHER_SCALE)
    output = entry.build(OTHER_SCALE)(**inputs)
    weights = entry.over_keys(output, OTHER_SCALE)
    assert weights.shape[-1] == (getattr(SIZES, key_letter(entry)) if "mask" in inputs else SIZES.T * SIZES.S)


@every_mechanism
def test_returns_context_and_weights_first(entry):
    output = built(entry)(**drawn(entry, SIZES))
    assert output._fields[:2] == ("context", "weights")
    assert all(leaf.shape[0] == SIZES.B for leaf in leaves(output))


@every_mechanism
@pytest.mark.parametrize("seed", range(3))
def test_weights_sum_to_one_over_all_keys(entry, seed):
    inputs = drawn(entry, SIZES, seed)
    weights = entry.over_keys(built(entry)(**{**inputs, **unmasked(inputs)}))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def unmasked(inputs: Inputs) -> Inputs:
    return {name: torch.ones_like(tensor) for name, tensor in inputs.items() if tensor.dtype == torch.bool}


@every_masked
@pytest.mark.parametrize("seed", range(3))
def test_masked_keys_get_exactly_zero_and_the_others_share_one(entry, seed):
    inputs = drawn(entry, SIZES, seed)
    weights = entry.over_keys(built(entry)(**inputs))
    assert (weights[~kept_keys(entry, inputs["mask"], weights)] == 0).all()
    # A query far from the only keys that are left may reach none of them.
    torch.testing.assert_close(weights.sum(-1), (weights > 0).any(-1).float())
    assert (weights > 0).any()


@every_masked
def test_what_masked_keys_hold_changes_nothing(entry):
    module, inputs, letter = built(entry), drawn(entry, SIZES), key_letter(entry)
    inputs["mask"][..., -2:] = False
    length = getattr(SIZES, letter)
    other = along(entry, inputs, letter, lambda tensor, axis: replaced(tensor, axis, length - 2))
    plain, changed = module(**inputs), module(**other)
    # In one sequence the masked positions are queries too, and their own answers change.
    rows = slice(length - 2) if letter == "T" else slice(None)
    torch.testing.assert_close(changed.context[:, rows], plain.context[:, rows])
    weights, changed_weights = entry.over_keys(plain), entry.over_keys(changed)
    if letter == "T":
        weights, changed_weights = weights[..., rows, :], changed_weights[..., rows, :]
    torch.testing.assert_close(changed_weights, weights)


@every_masked
def test_wholly_masked_row_gets_zeros_and_finite_gradients(entry):
    module, inputs = built(entry), drawn(entry, SIZES)
    inputs["mask"][-1] = False
    floats = [tensor.requires_grad_() for tensor in inputs.values() if tensor.is_floating_point()]
    output = module(**inputs)
    assert (entry.over_keys(output)[-1] == 0).all()
    assert all(leaf.isfinite().all() for leaf in leaves(output))
    output.context.square().sum().backward()
    for tensor in [*floats, *module.parameters()]:
        assert tensor.grad is None or tensor.grad.isfinite().all()


@entries(lambda entry: any(True for _ in entry.build().parameters()))
def test_gradient_reaches_all_parameters(entry):
    module = built(entry)
    output = module(**drawn(entry, SIZES))
    torch.manual_seed(1)
    sum((leaf * torch.randn_like(leaf)).sum() for leaf in leaves(output)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias on all keys shifts each query's scores by one number, which softmax does not see.
        if not ("project_key" in name and name.endswith("bias")):
            assert parameter.grad.abs().max() > 1e-6, name


@every_masked
def test_reordering_keys_reorders_weights_and_leaves_the_context_where_the_entry_says_so(entry):
    module, inputs, letter = built(entry), drawn(entry, SIZES), key_letter(entry)
    order = torch.randperm(getattr(SIZES, letter), generator=torch.Generator().manual_seed(3))
    moved = module(**along(entry, inputs, letter, lambda tensor, axis: tensor.index_select(axis, order)))
    plain = module(**inputs)
    context, weights = plain.context, entry.over_keys(plain)[..., order]
    if letter == "T":
        context, weights = context[:, order], weights[..., order, :]
    same = torch.allclose(moved.context, context, atol=1e-5)
    assert same == entry.order_free
    if entry.order_free:
        torch.testing.assert_close(entry.over_keys(moved), weights)


@entries(lambda entry: entry.causal)
def test_what_comes_later_changes_nothing_before_it(entry):
    module, inputs = built(entry), drawn(entry, SQUARE)
    later = inputs
    for letter in {"T", key_letter(entry)}:
        later = along(entry, later, letter, lambda tensor, axis: replaced(tensor, axis, 3))
    before, after = module(**inputs), module(**later)
    torch.testing.assert_close(after.context[:, :3], before.context[:, :3])
    assert not torch.allclose(after.context[:, 3:], before.context[:, 3:])


@every_mechanism
def test_row_that_is_not_a_number_harms_no_other_row(entry):
    module, inputs = built(entry), drawn(entry, Sizes(B=3, T=6, S=7))
    spoiled = {name: tensor.clone() for name, tensor in inputs.items()}
    for tensor in spoiled.values():
        if tensor.is_floating_point():
            tensor[0] = float("nan")
    for bad, good in zip(leaves(module(**spoiled)), leaves(module(**inputs)), strict=True):
        torch.testing.assert_close(bad[1:], good[1:])


@every_queried
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_query_that_is_not_finite_harms_only_its_own_answer(entry, bad):
    module, inputs = built(entry), drawn(entry, SIZES)
    plain = module(**inputs)
    inputs["query"][0, 2] = bad
    spoiled = module(**inputs)
    others = [t for t in range(SIZES.T) if t != 2]
    torch.testing.assert_close(spoiled.context[0, others], plain.context[0, others])
    torch.testing.assert_close(spoiled.context[1], plain.context[1])
    weights, spoiled_weights = entry.over_keys(plain), entry.over_keys(spoiled)
    torch.testing.assert_close(spoiled_weights[0][..., others, :], weights[0][..., others, :])


@every_masked
def test_no_key_at_all_gives_empty_weights_and_a_finite_context(entry):
    sizes = Sizes(B=2, T=0 if key_letter(entry) == "T" else 3, S=0)
    output = built(entry)(**drawn(entry, sizes))
    assert entry.over_keys(output).shape[-1] == 0
    assert all(leaf.isfinite().all() for leaf in leaves(output))


@every_masked
def test_mask_that_is_not_bool_is_refused(entry):
    inputs = drawn(entry, SIZES)
    for name in unmasked(inputs):
        with pytest.raises(ValueError, match="bool"):
            built(entry)(**{**inputs, name: inputs[name].float()})


@every_masked
def test_mask_for_another_number_of_keys_is_refused(entry):
    inputs = drawn(entry, SIZES)
    for name, mask in unmasked(inputs).items():
        with pytest.raises(ValueError, match=r"fit|shape"):
            built(entry)(**{**inputs, name: torch.cat((mask, mask[..., :1]), dim=-1)})


@entries(lambda entry: {"key", "value"} <= set(entry.dynamic))
def test_key_and_value_of_different_lengths_are_refused(entry):
    inputs = drawn(entry, SIZES)
    with pytest.raises(ValueError, match="positions and value"):
        built(entry)(**{**inputs, "value": inputs["value"][:, :-1]})


@every_queried
def test_query_of_another_width_is_refused(entry):
    inputs = drawn(entry, SIZES)
    with pytest.raises(ValueError, match="wide"):
        built(entry)(**{**inputs, "query": inputs["query"][..., :-1]})

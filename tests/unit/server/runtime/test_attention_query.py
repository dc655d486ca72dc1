"""What may be asked of a model's attention, and what it would weigh."""

import pytest

from server.errors import AttentionTooLarge, ParameterInvalid
from server.manifest import Manifest
from server.runtime.attention_maps import AttentionQuery, Reduction, check_size, outputs_needed

TOKENS = {"kind": "length", "name": "length"}


def manifest(*, heads: tuple[int | None, ...] = (4, 4, 4), attention: bool = True) -> Manifest:
    """Three layers of self-attention over tokens, and one that looks from tokens at a 2 x 3 grid with 2 heads."""
    row, source = {"kind": "row"}, {"kind": "fixed", "size": 6}

    def output(name: str, count: int | None, key: dict[str, object]) -> dict[str, object]:
        head = {"kind": "free"} if count is None else {"kind": "fixed", "size": count}
        axes = [row, head, dict(TOKENS), key]
        return {"name": name, "datatype": "FP32", "axes": axes, "role": "attention"}

    outputs = [output(f"self_{layer}", count, dict(TOKENS)) for layer, count in enumerate(heads)]
    outputs.append(output("cross_0", 2, source))
    tokens, cells = {"kind": "tokens"}, {"kind": "cells", "rows": 2, "columns": 3}
    specs: list[dict[str, object]] = [
        {"name": "self", "mechanism": "multi-head", "outputs": [o["name"] for o in outputs[:-1]]},
        {"name": "cross", "mechanism": "multi-head", "outputs": ["cross_0"]},
    ]
    return Manifest.model_validate(
        {
            "name": "m",
            "task": "tensors",
            "graphs": [{"file": "model.onnx", "opset": 18}],
            "inputs": [{"name": "ids", "datatype": "INT64", "axes": [row, dict(TOKENS)]}],
            "outputs": outputs if attention else [{"name": "y", "datatype": "FP32", "axes": [row]}],
            "attention": [
                {**spec, "query": tokens, "key": key} for spec, key in zip(specs, (tokens, cells), strict=True)
            ]
            if attention
            else [],
        }
    )


def test_everything_is_the_default() -> None:
    assert outputs_needed(AttentionQuery(), manifest()) == ("self_0", "self_1", "self_2", "cross_0")


def test_only_chosen_layers_are_fetched_in_the_order_asked() -> None:
    query = AttentionQuery(names=("self",), layers=(2, 0), heads=(3, 1))

    assert outputs_needed(query, manifest()) == ("self_2", "self_0")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (AttentionQuery(names=("other",)), "'other'; the model has: self, cross"),
        (AttentionQuery(names=("x" * 10_000,)), "x{64}'"),
        (AttentionQuery(names=("self",), layers=(3,)), "no layer 3 .* 0 to 2"),
        (AttentionQuery(layers=(1,)), "no layer 1 in attention 'cross'"),
        (AttentionQuery(names=("self",), layers=(-1,)), "no layer -1"),
        (AttentionQuery(names=("self",), heads=(4,)), "no head 4 .* it has 4"),
        (AttentionQuery(names=("self",), heads=(-1,)), "no head -1"),
        (AttentionQuery(names=("self", "self")), "mechanism is named twice"),
        (AttentionQuery(names=("self",), layers=(1, 1)), "layer is named twice"),
        (AttentionQuery(names=("self",), heads=(0, 0)), "head is named twice"),
        (AttentionQuery(top_k=-1), "top_k is -1"),
        (AttentionQuery(reduction=Reduction.ROLLOUT), "'cross' relates different axes"),
        (AttentionQuery(names=("self",), layers=(0,), reduction=Reduction.ROLLOUT), "all layers and heads"),
        (AttentionQuery(names=("self",), heads=(0,), reduction=Reduction.ROLLOUT), "all layers and heads"),
    ],
)
def test_impossible_choice_is_refused(query: AttentionQuery, said: str) -> None:
    with pytest.raises(ParameterInvalid, match=said):
        outputs_needed(query, manifest())
    with pytest.raises(ParameterInvalid, match=said):
        check_size(query, manifest(), {"length": 1}, 10**9)


def test_rollout_through_self_attention_fetches_all_its_layers() -> None:
    query = AttentionQuery(names=("self",), reduction=Reduction.ROLLOUT)

    assert outputs_needed(query, manifest()) == ("self_0", "self_1", "self_2")


def test_model_without_attention_says_so() -> None:
    with pytest.raises(ParameterInvalid, match="no attention maps"):
        outputs_needed(AttentionQuery(), manifest(attention=False))


@pytest.mark.parametrize("heads", [(None, None, None), (4, 8, 4), (4, None, 4)])
def test_layers_of_unequal_heads_need_a_choice_of_heads(heads: tuple[int | None, ...]) -> None:
    with pytest.raises(ParameterInvalid, match="name heads, or ask for a reduction"):
        outputs_needed(AttentionQuery(names=("self",)), manifest(heads=heads))

    assert outputs_needed(AttentionQuery(names=("self",), heads=(3,)), manifest(heads=heads))
    assert outputs_needed(AttentionQuery(names=("self",), reduction=Reduction.MEAN), manifest(heads=heads))


@pytest.mark.parametrize(
    ("query", "size"),
    [
        (AttentionQuery(), 3 * 4 * 10 * 10 * 4 + 2 * 10 * 6 * 4),
        (AttentionQuery(names=("self",)), 3 * 4 * 10 * 10 * 4),
        (AttentionQuery(names=("self",), layers=(0, 2), heads=(1,)), 2 * 10 * 10 * 4),
        (AttentionQuery(names=("self",), reduction=Reduction.MEAN_HEADS), 3 * 10 * 10 * 4),
        (AttentionQuery(names=("self",), reduction=Reduction.MAX), 10 * 10 * 4),
        (AttentionQuery(names=("self",), reduction=Reduction.ROLLOUT), 10 * 10 * 4),
        (AttentionQuery(names=("self",), top_k=3), 3 * 4 * 10 * 3 * 8),
        (AttentionQuery(names=("cross",), top_k=100), 2 * 10 * 6 * 8),
    ],
)
def test_bound_is_exact(query: AttentionQuery, size: int) -> None:
    check_size(query, manifest(), {"length": 10}, size)
    with pytest.raises(AttentionTooLarge, match=f"take {size} bytes; at most {size - 1} ") as refused:
        check_size(query, manifest(), {"length": 10}, size - 1)

    assert refused.value.metadata["max_bytes"] == str(size - 1)


def test_rows_of_a_reply_are_weighed_together() -> None:
    query, rows = AttentionQuery(names=("self",), reduction=Reduction.MEAN), [{"length": 10}, {"length": 5}]

    check_size(query, manifest(), rows, (100 + 25) * 4)
    with pytest.raises(AttentionTooLarge):
        check_size(query, manifest(), rows, (100 + 25) * 4 - 1)


@pytest.mark.parametrize("length", [10, 100, 1000])
@pytest.mark.parametrize("max_bytes", [40_000, 8_000, 900])
@pytest.mark.parametrize("top_k", [0, 500])
@pytest.mark.parametrize("reduction", [r for r in Reduction if r is not Reduction.ROLLOUT])
def test_advice_can_be_followed(length: int, max_bytes: int, top_k: int, reduction: Reduction) -> None:
    rows = [{"length": length}] * 2
    advice = _advice(AttentionQuery(reduction=reduction, top_k=top_k), rows, max_bytes)
    if advice is None:
        return
    if "fitting_reduction" in advice:
        fitting = Reduction(advice["fitting_reduction"])
        advised = AttentionQuery(reduction=fitting, top_k=int(advice.get("fitting_top_k", top_k)))
        check_size(advised, manifest(), rows, max_bytes)
    else:
        # No advice is given only where one key per query of the coarsest map is too much.
        assert _advice(AttentionQuery(reduction=Reduction.MEAN, top_k=1), rows, max_bytes) is not None


def _advice(query: AttentionQuery, rows: list[dict[str, int]], max_bytes: int) -> dict[str, str] | None:
    """What a refusal advises; None where the query fits."""
    try:
        check_size(query, manifest(), rows, max_bytes)
    except AttentionTooLarge as refused:
        return refused.metadata
    return None


def test_refusal_names_the_reduction_that_fits() -> None:
    with pytest.raises(AttentionTooLarge, match="reduction mean_heads fits"):
        check_size(AttentionQuery(names=("self",)), manifest(), {"length": 10}, 3 * 10 * 10 * 4)
    with pytest.raises(AttentionTooLarge, match="reduction max with top_k 4 fits"):
        check_size(
            AttentionQuery(names=("self",), reduction=Reduction.MAX), manifest(), {"length": 10}, 10 * 10 * 4 - 1
        )
    with pytest.raises(AttentionTooLarge, match="fewer or shorter"):
        check_size(AttentionQuery(names=("self",)), manifest(), {"length": 10}, 79)

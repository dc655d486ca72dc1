"""Maps against references written out as loops."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.errors import InferenceFailed, ParameterInvalid
from server.manifest import Manifest
from server.runtime.attention_maps import AttentionMap, AttentionQuery, Reduction, attention_maps
from server.tensors import Array, float32_to_bf16

LAYERS, HEADS, LENGTH, ROWS = 3, 4, 5, 2


def manifest(datatype: str = "FP32", head_axis: dict[str, object] | None = None) -> Manifest:
    length: dict[str, object] = {"kind": "length", "name": "length"}
    row: dict[str, object] = {"kind": "row"}
    axes = [row, head_axis or {"kind": "fixed", "size": HEADS}, length, length]
    tokens = {"kind": "tokens"}
    return Manifest.model_validate(
        {
            "name": "m",
            "task": "tensors",
            "graphs": [{"file": "model.onnx", "opset": 18}],
            "inputs": [{"name": "ids", "datatype": "INT64", "axes": [row, length]}],
            "outputs": [
                {"name": f"a{layer}", "datatype": datatype, "axes": axes, "role": "attention"}
                for layer in range(LAYERS)
            ],
            "attention": [
                {
                    "name": "encoder",
                    "mechanism": "multi-head self-attention",
                    "outputs": [f"a{layer}" for layer in range(LAYERS)],
                    "query": tokens,
                    "key": tokens,
                }
            ],
        }
    )


def softmaxed(seed: int = 3) -> dict[str, NDArray[np.float32]]:
    scores = np.random.default_rng(seed).normal(size=(LAYERS, ROWS, HEADS, LENGTH, LENGTH))
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return {f"a{layer}": weights[layer].astype(np.float32) for layer in range(LAYERS)}


def one(query: AttentionQuery, outputs: dict[str, NDArray[np.float32]] | None = None, row: int = 1) -> AttentionMap:
    (found,) = attention_maps(query, manifest(), softmaxed() if outputs is None else outputs, row)
    assert found.weights.dtype == np.float32
    return found


def test_no_reduction_gives_every_layer_and_head_of_the_row() -> None:
    found, outputs = one(AttentionQuery()), softmaxed()

    assert (found.name, found.layers, found.heads) == ("encoder", (0, 1, 2), (0, 1, 2, 3))
    assert found.key_indices is None
    for layer in range(LAYERS):
        np.testing.assert_array_equal(found.weights[layer], outputs[f"a{layer}"][1])


def test_chosen_layers_and_heads_come_in_the_order_asked() -> None:
    found, outputs = one(AttentionQuery(layers=(2, 0), heads=(3, 1)), row=0), softmaxed()

    assert (found.layers, found.heads) == ((2, 0), (3, 1))
    assert found.weights.shape == (2, 2, LENGTH, LENGTH)
    np.testing.assert_array_equal(found.weights[0, 1], outputs["a2"][0, 1])
    np.testing.assert_array_equal(found.weights[1, 0], outputs["a0"][0, 3])


def test_mean_heads_averages_chosen_heads_per_layer() -> None:
    found, outputs = one(AttentionQuery(heads=(0, 2), reduction=Reduction.MEAN_HEADS)), softmaxed()

    assert found.weights.shape == (LAYERS, LENGTH, LENGTH)
    for layer in range(LAYERS):
        expected = (outputs[f"a{layer}"][1, 0] + outputs[f"a{layer}"][1, 2]) / 2
        np.testing.assert_allclose(found.weights[layer], expected, atol=1e-6)


def test_mean_averages_layers_and_heads() -> None:
    found, outputs = one(AttentionQuery(layers=(0, 2), reduction=Reduction.MEAN)), softmaxed()
    total = sum(outputs[name][1, head] for name in ("a0", "a2") for head in range(HEADS))

    np.testing.assert_allclose(found.weights, np.asarray(total) / (2 * HEADS), atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_max_takes_the_largest_of_layers_and_heads() -> None:
    found, outputs = one(AttentionQuery(reduction=Reduction.MAX)), softmaxed()

    for q in range(LENGTH):
        for k in range(LENGTH):
            expected = max(outputs[f"a{layer}"][1, head, q, k] for layer in range(LAYERS) for head in range(HEADS))
            assert found.weights[q, k] == expected


def test_rollout_multiplies_half_residual_layers() -> None:
    found, outputs = one(AttentionQuery(reduction=Reduction.ROLLOUT)), softmaxed()
    # By hand: the last layer's matrix stands leftmost.
    first, second, third = (
        0.5 * outputs[f"a{layer}"][1].astype(np.float64).mean(0) + 0.5 * np.eye(LENGTH) for layer in range(LAYERS)
    )

    np.testing.assert_allclose(found.weights, third @ second @ first, atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_rollout_renormalises_a_position_that_attends_nowhere() -> None:
    outputs = {name: np.zeros_like(weights) for name, weights in softmaxed().items()}

    np.testing.assert_array_equal(one(AttentionQuery(reduction=Reduction.ROLLOUT), outputs).weights, np.eye(LENGTH))


@given(
    weights=hnp.arrays(np.float32, (ROWS, HEADS, LENGTH, LENGTH), elements=st.sampled_from([0.0, 0.25, 0.5, 0.125])),
    top_k=st.integers(1, LENGTH + 2),
)
def test_top_k_keeps_the_strongest_keys_by_falling_weight(weights: NDArray[np.float32], top_k: int) -> None:
    found = one(AttentionQuery(layers=(0,), top_k=top_k), {"a0": weights})
    kept = min(top_k, LENGTH)

    assert found.key_indices is not None
    assert found.key_indices.dtype == np.uint32
    assert found.weights.shape == found.key_indices.shape == (1, HEADS, LENGTH, kept)
    for head in range(HEADS):
        for q in range(LENGTH):
            row, keys = weights[1, head, q], found.key_indices[0, head, q].tolist()
            assert len(set(keys)) == kept
            assert found.weights[0, head, q].tolist() == row[keys].tolist() == sorted(row.tolist(), reverse=True)[:kept]
            assert all(a < b for a, b in pairwise(keys) if row[a] == row[b])


@pytest.mark.parametrize("top_k", [LENGTH, LENGTH + 7])
def test_top_k_of_all_keys_is_the_whole_map_sorted(top_k: int) -> None:
    found = one(AttentionQuery(reduction=Reduction.MEAN, top_k=top_k))
    dense = one(AttentionQuery(reduction=Reduction.MEAN)).weights

    assert found.key_indices is not None
    restored = np.zeros_like(dense)
    np.put_along_axis(restored, found.key_indices.astype(np.intp), found.weights, axis=-1)
    np.testing.assert_array_equal(restored, dense)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP64"])
def test_other_float_types_become_float32(datatype: str) -> None:
    outputs: dict[str, Array] = {
        name: float32_to_bf16(weights) if datatype == "BF16" else weights.astype(f"f{int(datatype[2:]) // 8}")
        for name, weights in softmaxed().items()
    }

    (found,) = attention_maps(AttentionQuery(), manifest(datatype), outputs, 0)

    assert found.weights.dtype == np.float32
    np.testing.assert_allclose(found.weights[0], softmaxed()["a0"][0], atol=4e-3)


def test_reduction_leaves_the_outputs_untouched() -> None:
    outputs = softmaxed()

    for reduction in Reduction:
        one(AttentionQuery(reduction=reduction, top_k=2), outputs)

    for name, weights in softmaxed().items():
        np.testing.assert_array_equal(outputs[name], weights)


def test_output_without_four_axes_is_a_failed_inference() -> None:
    with pytest.raises(InferenceFailed, match="'a0' has 3 axes"):
        one(AttentionQuery(layers=(0,)), {"a0": np.zeros((ROWS, LENGTH, LENGTH), np.float32)})


def test_head_unknown_to_the_manifest_is_checked_on_the_output() -> None:
    with pytest.raises(ParameterInvalid, match=r"no head 9 .* it has 4"):
        attention_maps(AttentionQuery(heads=(9,)), manifest(head_axis={"kind": "free"}), softmaxed(), 0)

import pytest

from server.errors import AttentionTooLarge
from server.manifest import FreeAxis
from server.rpc.open_inference.attention_bound import check_attention_bytes
from tests.support.fakes import text_model

MANIFEST = text_model().manifest
ONE_LAYER = 3 * 2 * 5 * 5 * 4  # rows, heads, queries, keys, bytes


def test_the_bound_itself_passes():
    check_attention_bytes(MANIFEST, ["attention_0", "logits"], 3, lambda _: 5, ONE_LAYER)


def test_one_byte_more_is_refused():
    with pytest.raises(AttentionTooLarge) as caught:
        check_attention_bytes(MANIFEST, ["attention_0"], 3, lambda _: 5, ONE_LAYER - 1)
    assert caught.value.metadata == {"bytes": str(ONE_LAYER), "max_bytes": str(ONE_LAYER - 1)}


def test_layers_add_up():
    with pytest.raises(AttentionTooLarge):
        check_attention_bytes(MANIFEST, ["attention_0", "attention_1"], 3, lambda _: 5, 2 * ONE_LAYER - 1)


def test_other_outputs_do_not_count():
    check_attention_bytes(MANIFEST, ["logits", "hidden"], 10**6, lambda _: 10**6, 0)


def test_free_axes_count_by_their_name():
    head = FreeAxis(name="heads")
    outputs = tuple(
        spec.model_copy(update={"axes": (spec.axes[0], head, *spec.axes[2:])}) if spec.role == "attention" else spec
        for spec in MANIFEST.outputs
    )
    manifest, sizes = MANIFEST.model_copy(update={"outputs": outputs}), {"heads": 3, "length": 5}
    check_attention_bytes(manifest, ["attention_0"], 2, sizes.__getitem__, 2 * 3 * 5 * 5 * 4)
    with pytest.raises(AttentionTooLarge):
        check_attention_bytes(manifest, ["attention_0"], 2, sizes.__getitem__, 2 * 3 * 5 * 5 * 4 - 1)

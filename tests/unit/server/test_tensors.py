import numpy as np
import pytest

from server.tensors import NUMPY_DTYPES, Datatype, Tensor, bf16_to_float32, cast, element, float32_to_bf16


@pytest.mark.parametrize("datatype", Datatype)
def test_every_datatype_has_elements(datatype):
    held = np.full((2, 3), element(1, datatype), dtype=NUMPY_DTYPES[datatype])
    assert Tensor(datatype, held).shape == (2, 3)
    if datatype is Datatype.BYTES:
        assert held.tolist() == [[b""] * 3] * 2
    else:
        values = bf16_to_float32(held) if datatype is Datatype.BF16 else held
        assert (values == 1).all()


def test_a_cast_to_bf16_is_by_value_and_others_are_numpys():
    assert bf16_to_float32(cast(np.array([True, False]), Datatype.BF16)).tolist() == [1.0, 0.0]
    assert cast(np.array([1.5]), Datatype.INT8).tolist() == [1]
    floats = np.ones(2, dtype=np.float32)
    assert cast(floats, Datatype.FP32) is floats


def test_bf16_rounds_to_nearest_even_and_keeps_nan():
    values = np.array([1.0, 1.00390625, 1.01171875, -0.0, np.inf, np.nan], dtype=np.float32)
    back = bf16_to_float32(float32_to_bf16(values))
    assert back[:5].tolist() == [1.0, 1.0, 1.015625, -0.0, np.inf]
    assert np.isnan(back[5])


def test_an_array_of_another_dtype_is_no_tensor():
    with pytest.raises(ValueError, match="BF16 is held as uint16"):
        Tensor(Datatype.BF16, np.zeros(1, dtype=np.float32))

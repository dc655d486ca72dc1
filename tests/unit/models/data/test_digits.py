import numpy as np
from sklearn.datasets import load_digits

from models.data.digits import encode_png, labelled_digits
from models.registry import MODELS
from server.codecs import ImageCodec


def test_a_digit_survives_its_png_within_half_a_grey_level(tmp_path):
    image = load_digits().images[7]
    task = MODELS["digits"].task
    codec, _ = task.write_codec(MODELS["digits"].config, tmp_path, labelled_digits(0))
    pixels = ImageCodec(codec).encode(encode_png(image)).inputs["pixels"]
    assert pixels.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(pixels[0, 0] * 0.5 + 0.5, image / 16, atol=0.5 / 255 + 1e-6)


def test_an_enlarged_digit_is_encoded_as_the_small_one(tmp_path):
    image = load_digits().images[3]
    task = MODELS["digits"].task
    codec, _ = task.write_codec(MODELS["digits"].config, tmp_path, labelled_digits(0))
    encoder = ImageCodec(codec)
    enlarged = encode_png(np.kron(image, np.ones((16, 16))))
    np.testing.assert_allclose(
        encoder.encode(enlarged).inputs["pixels"], encoder.encode(encode_png(image)).inputs["pixels"], atol=0.02
    )


def test_every_digit_is_in_every_split():
    digits = labelled_digits(seed=0)
    for indices in (digits.split.train, digits.split.validation, digits.split.test):
        assert {digits.labels[index] for index in indices} == set(range(10))
    assert digits.names == tuple("0123456789")


def test_the_provenance_tells_one_seed_from_another():
    first, second = labelled_digits(seed=0).provenance(), labelled_digits(seed=1).provenance()
    assert first == labelled_digits(seed=0).provenance()
    assert first.fingerprint != second.fingerprint
    assert sum(first.examples.values()) == 1797

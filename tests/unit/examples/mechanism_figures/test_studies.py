import pytest
import torch

from examples.mechanism_figures.scans import draw_strips, load_scans
from examples.mechanism_figures.studies import SCALE, STUDIES
from models.attention.catalogue import MECHANISMS, mechanism

every_study = pytest.mark.parametrize("name", STUDIES)


@pytest.fixture(scope="module")
def held_out():
    return load_scans(seed=0)[1]


@pytest.fixture
def read(held_out):
    """The reader of a mechanism, and a few strips for it."""

    def build(name):
        torch.manual_seed(0)
        reader = STUDIES[name].build(mechanism(name)).eval()
        generator = torch.Generator().manual_seed(0)
        return reader, draw_strips(held_out, 3, reader.num_digits, generator, distinct=reader.distinct)

    return build


def test_every_mechanism_of_the_catalogue_has_a_study():
    assert set(STUDIES) == {entry.name for entry in MECHANISMS}


@every_study
def test_reader_contains_the_mechanism_of_its_name(name, read):
    reader, _ = read(name)
    assert type(mechanism(name).build(SCALE)) in {type(part) for part in reader.modules()}


@every_study
def test_reader_answers_what_is_asked_with_weights_that_share_at_most_one(name, read):
    reader, strips = read(name)
    expected = reader.expected(strips.labels)
    for given in (None, expected):
        scores, panels = reader(strips.images, given)
        assert scores.shape[:2] == expected.shape
        assert expected.max() < scores.shape[-1]
        for weights in panels.values():
            assert weights.shape[0] == len(expected)
            assert (weights >= 0).all()
            shares = weights.flatten(1).sum(-1) if reader.layout == "digits" else weights.sum(-1)
            assert (shares <= 1 + 1e-5).all()


@every_study
def test_gradient_of_the_loss_reaches_the_mechanism(name, read):
    reader, strips = read(name)
    for parameter in reader.parameters():
        if parameter.dim() == 0:  # a gate that starts shut
            torch.nn.init.ones_(parameter)
    torch.autograd.backward(reader.loss(*strips))
    for key, parameter in reader.named_parameters():
        # A bias on all keys shifts each query's scores by one number, which softmax does not see.
        if not ("project_key" in key and key.endswith("bias")):
            assert parameter.grad is not None, key
            assert parameter.grad.any(), key


@every_study
def test_accuracy_is_the_share_of_right_answers(name, read):
    reader, strips = read(name)
    right = reader(strips.images).scores.argmax(-1) == reader.expected(strips.labels)
    assert reader.accuracy(*strips) == pytest.approx(right.double().mean().item())


def test_pointing_reader_expects_places_in_the_order_of_their_digits(read):
    reader, _ = read("pointer")
    labels = torch.tensor([7, 0, 3, 1, 8, 6])
    (places,) = reader.expected(labels[None]).tolist()
    assert [reader.spelled(place, labels) for place in places] == ["0", "1", "3", "6", "7", "8"]


def test_copying_reader_expects_a_statement(read):
    reader, _ = read("copy")
    labels = torch.tensor([7, 0, 3])
    (words,) = reader.expected(labels[None]).tolist()
    assert " ".join(reader.spelled(word, labels) for word in words) == "0 < 3 < 7 ."


def test_questions_ask_for_the_first_digits_and_every_column_for_its_own(read):
    reader, _ = read("global-window")
    (answers,) = reader.expected(torch.tensor([[7, 0, 3, 1]])).tolist()
    assert answers == [7, 0] + 8 * [7] + 8 * [0] + 8 * [3] + 8 * [1]


def test_causal_reader_asks_the_last_column_of_each_digit(read):
    reader, strips = read("causal-linear")
    changed = strips.images.clone()
    changed[:, 2:] = 0.5
    before, after = reader(strips.images).scores, reader(changed).scores
    assert before.shape[1] == 4
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 2], before[:, 2])

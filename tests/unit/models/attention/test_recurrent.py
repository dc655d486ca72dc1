import numpy as np
import pytest
import torch
from torch import nn

from models.attention import Recurrence

CELLS = ("tanh", "lstm", "gru")
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference_step(recurrence: Recurrence, x: np.ndarray, state: np.ndarray) -> np.ndarray:
    """One step from the formulas, state (R,d_hidden): Elman 1990; Gers et al. 2000; Cho et al. 2014."""
    w_x, w_h, b_x, b_h = (parameter.detach().numpy() for parameter in recurrence.rnn.parameters())
    from_input, from_state = w_x @ x + b_x, w_h @ state[0] + b_h
    if recurrence.cell == "tanh":
        return np.tanh(from_input + from_state)[None]
    if recurrence.cell == "lstm":
        i, f, g, o = np.split(from_input + from_state, 4)
        cell = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return np.stack((sigmoid(o) * np.tanh(cell), cell))
    (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(from_input, 3), np.split(from_state, 3)
    update, new = sigmoid(z_x + z_h), np.tanh(n_x + sigmoid(r_x + r_h) * n_h)
    return ((1 - update) * new + update * state[0])[None]


@every_cell
def test_states_equal_the_formulas_in_float64(cell):
    recurrence = Recurrence(cell, 3, 4).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    start = torch.randn(2, recurrence.num_states, 4, dtype=torch.float64)
    states, last = recurrence(inputs, start)
    for row in range(2):
        state = start[row].numpy()
        for t in range(5):
            state = reference_step(recurrence, inputs[row, t].numpy(), state)
            np.testing.assert_allclose(states[row, t].detach().numpy(), state[0], rtol=1e-10)
        np.testing.assert_allclose(last[row].detach().numpy(), state, rtol=1e-10)


@every_cell
def test_running_in_two_parts_is_running_at_once(cell):
    recurrence = Recurrence(cell, 3, 4)
    inputs = torch.randn(2, 5, 3)
    states, last = recurrence(inputs)
    first, state = recurrence(inputs[:, :2])
    second, state = recurrence(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), states)
    torch.testing.assert_close(state, last)


@every_cell
def test_without_a_state_it_starts_from_zeros(cell):
    recurrence = Recurrence(cell, 3, 4)
    inputs = torch.randn(2, 5, 3)
    assert torch.equal(recurrence(inputs)[0], recurrence(inputs, recurrence.start(inputs))[0])
    assert torch.equal(recurrence.start(inputs), torch.zeros(2, recurrence.num_states, 4))


@every_cell
def test_no_step_leaves_the_state(cell):
    recurrence = Recurrence(cell, 3, 4)
    start = torch.randn(2, recurrence.num_states, 4)
    states, last = recurrence(torch.zeros(2, 0, 3), start)
    assert states.shape == (2, 0, 4)
    assert torch.equal(last, start)


@every_cell
def test_gradient_reaches_all_parameters_and_inputs(cell):
    recurrence = Recurrence(cell, 3, 4)
    inputs = torch.randn(2, 5, 3, requires_grad=True)
    recurrence(inputs)[0][:, -1].square().sum().backward()
    for tensor in (inputs, *recurrence.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 1e-6
    assert inputs.grad[:, 0].abs().max() > 0


def test_a_cell_of_another_name_is_refused():
    with pytest.raises(ValueError, match="cell must be one of tanh, lstm, gru, not 'relu'"):
        Recurrence("relu", 3, 4)


@pytest.mark.parametrize("widths", [(0, 4), (3, 0), (-1, 4)])
def test_widths_that_are_not_positive_are_refused(widths):
    with pytest.raises(ValueError, match="widths must be positive"):
        Recurrence("gru", *widths)


def test_inputs_of_another_width_are_refused():
    with pytest.raises(ValueError, match="inputs is 4 wide, expected 3"):
        Recurrence("gru", 3, 4)(torch.zeros(2, 5, 4))


def test_state_of_another_cell_is_refused():
    with pytest.raises(ValueError, match=r"state of shape \(2, 1, 4\) is not \(B,2,4\)"):
        Recurrence("lstm", 3, 4)(torch.zeros(2, 5, 3), torch.zeros(2, 1, 4))


@every_cell
def test_the_weights_are_those_of_torch(cell):
    theirs = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](3, 4, batch_first=True)
    ours = Recurrence(cell, 3, 4)
    ours.rnn.load_state_dict(theirs.state_dict())
    inputs = torch.randn(2, 5, 3)
    torch.testing.assert_close(ours(inputs)[0], theirs(inputs)[0])

import numpy as np
import pytest
import torch

from models.attention import AdditiveAttention, DotAttention, RecurrentDecoder

D_INPUT, D_SOURCE, D_HIDDEN, D_OUTPUT = 3, 5, 4, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(cell="gru", combine="concat", input_feeding=False) -> RecurrentDecoder:
    mechanism = AdditiveAttention(D_HIDDEN, D_SOURCE, 6)
    return RecurrentDecoder(
        D_INPUT, D_SOURCE, D_HIDDEN, D_OUTPUT, mechanism, cell=cell, combine=combine, input_feeding=input_feeding
    )


def draw(batch=2, target=4, source=6):
    return torch.randn(batch, target, D_INPUT), torch.randn(batch, source, D_SOURCE)


every_form = pytest.mark.parametrize(
    ("cell", "combine", "input_feeding"),
    [
        (cell, combine, fed)
        for cell in ("tanh", "lstm", "gru")
        for combine in ("concat", "sum")
        for fed in (False, True)
    ],
)


@pytest.mark.parametrize("input_feeding", [False, True])
def test_answer_equals_the_formulas_in_float64(input_feeding):
    decoder = RecurrentDecoder(
        D_INPUT, D_HIDDEN, D_HIDDEN, D_OUTPUT, DotAttention(), cell="tanh", input_feeding=input_feeding
    ).double()
    inputs, source = torch.randn(1, 3, D_INPUT).double(), torch.randn(1, 6, D_HIDDEN).double()
    answer = decoder(inputs, source)
    w_x, w_h, b_x, b_h = (parameter.detach().numpy() for parameter in decoder.recurrence.rnn.parameters())
    w_c, w_y = decoder.fuse.combine.weight.detach().numpy(), decoder.read_out.weight.detach().numpy()
    hidden = fused = np.zeros(D_HIDDEN)
    keys = source[0].numpy()
    for t in range(3):
        x = np.concatenate((inputs[0, t].numpy(), fused)) if input_feeding else inputs[0, t].numpy()
        hidden = np.tanh(w_h @ hidden + w_x @ x + b_x + b_h)
        exponentials = np.exp(keys @ hidden)
        weights = exponentials / exponentials.sum()
        context = weights @ keys
        fused = np.tanh(w_c @ np.concatenate((context, hidden)))
        outputs = w_y @ fused + decoder.read_out.bias.detach().numpy()
        for ours, theirs in zip(answer[:3], (context, weights, outputs), strict=True):
            np.testing.assert_allclose(ours[0, t].detach().numpy(), theirs, rtol=1e-10)
    expected = np.stack((hidden, fused) if input_feeding else (hidden,))
    np.testing.assert_allclose(answer.state[0].detach().numpy(), expected, rtol=1e-10)


@every_form
def test_decoding_given_inputs_is_stepping_through_them(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs, source = draw()
    present = torch.arange(6) < torch.tensor([[6], [3]])
    whole = decoder(inputs, source, present[:, None, :])
    state = decoder.start(source)
    for t in range(4):
        step = decoder.step(inputs[:, t], state, source, present)
        for at_once, alone in zip(whole[:3], step[:3], strict=True):
            torch.testing.assert_close(alone, at_once[:, t])
        state = step.state
    torch.testing.assert_close(state, whole.state)


@every_form
def test_outputs_never_see_later_inputs(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs, source = draw()
    changed = inputs.clone()
    changed[:, 2:] += 1
    before, after = decoder(inputs, source), decoder(changed, source)
    assert torch.equal(before.outputs[:, :2], after.outputs[:, :2])
    assert not torch.allclose(before.outputs[:, 2:], after.outputs[:, 2:])


@every_form
def test_masked_source_positions_change_nothing(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs, source = draw()
    mask = (torch.arange(6) < 4)[None, None, :]
    masked, alone = decoder(inputs, source, mask), decoder(inputs, source[:, :4])
    assert (masked.weights[..., 4:] == 0).all()
    torch.testing.assert_close(masked.weights.sum(-1), torch.ones(2, 4))
    torch.testing.assert_close(masked.outputs, alone.outputs)


@every_form
def test_without_any_key_the_context_is_zero_and_decoding_goes_on(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs, source = draw()
    masked = decoder(inputs, source, torch.zeros(1, 1, 6, dtype=torch.bool))
    empty = decoder(inputs, source[:, :0])
    assert (masked.context == 0).all()
    assert (masked.weights == 0).all()
    torch.testing.assert_close(masked.outputs, empty.outputs)
    assert masked.outputs.isfinite().all()


@every_form
def test_no_input_gives_empty_axes_and_leaves_the_state(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs, source = draw(target=0)
    start = torch.randn_like(decoder.start(source))
    context, weights, outputs, state = decoder(inputs, source, state=start)
    assert (context.shape, weights.shape, outputs.shape) == ((2, 0, D_SOURCE), (2, 0, 6), (2, 0, D_OUTPUT))
    assert torch.equal(state, start)


@every_form
def test_gradient_reaches_all_parameters_and_inputs(cell, combine, input_feeding):
    decoder = build(cell, combine, input_feeding)
    inputs = [tensor.requires_grad_() for tensor in draw()]
    decoder(*inputs).outputs.square().sum().backward()
    for tensor in (*inputs, *decoder.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


def test_with_input_feeding_the_next_state_knows_what_was_attended_to():
    for input_feeding, differs in ((False, False), (True, True)):
        decoder = build(input_feeding=input_feeding)
        inputs, source = draw()
        hidden = [decoder(inputs, source * scale).state[:, 0] for scale in (1, 2)]
        assert torch.allclose(*hidden) is not differs


@pytest.mark.parametrize(("cell", "fed", "rows"), [("gru", False, 1), ("gru", True, 2), ("lstm", True, 3)])
def test_the_state_has_a_row_for_each_thing_that_is_carried_on(cell, fed, rows):
    decoder = build(cell, input_feeding=fed)
    inputs, source = draw()
    assert decoder.start(source).shape == decoder(inputs, source).state.shape == (2, rows, D_HIDDEN)


@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": torch.zeros(2, 4, 9)}, "inputs is 9 wide, expected 3"),
        ({"source": torch.zeros(2, 6, 4)}, "source is 4 wide, expected 5"),
        ({"mask": torch.ones(2, 4, 5, dtype=torch.bool)}, "does not fit scores"),
        ({"mask": torch.ones(2, 4, 6)}, "mask must be bool"),
        ({"state": torch.zeros(2, 9, 4)}, r"state of shape \(2, 9, 4\) is not"),
    ],
    ids=["inputs", "source", "mask", "float mask", "state"],
)
def test_arguments_that_do_not_fit_are_refused(input_feeding, arguments, message):
    inputs, source = draw()
    with pytest.raises(ValueError, match=message):
        build(input_feeding=input_feeding)(**{"inputs": inputs, "source": source, **arguments})


def test_mask_of_a_step_is_over_the_source():
    decoder = build()
    inputs, source = draw()
    with pytest.raises(ValueError, match="does not fit"):
        decoder.step(inputs[:, 0], decoder.start(source), source, torch.ones(2, 1, 6, dtype=torch.bool))

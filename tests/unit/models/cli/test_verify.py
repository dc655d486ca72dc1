import pytest

from models.cli.verify import show
from server.manifest import OutputParity, PackedParity, ParityReport


def report(error, alone=0.0, lengths=()):
    outputs = (OutputParity(output="logits", max_error=error, mean_error=error / 10),)
    return ParityReport(
        tolerance=1e-4, outputs=outputs, batched_equals_alone_max_error=alone, batch_sizes=(1, 3), lengths=lengths
    )


def line_with(text, output):
    return next(line for line in output.splitlines() if text in line)


def test_table_states_errors_and_verdict_of_every_comparison(capsys):
    show(report(2e-6, alone=3e-3, lengths=(1, 40)))
    output = capsys.readouterr().out
    assert "tolerance 1e-04" in output
    logits, alone = line_with("logits", output), line_with("batched and padded", output)
    assert "2.00e-06" in logits
    assert "2.00e-07" in logits
    assert "within" in logits
    assert "3.00e-03" in alone
    assert "over" in alone
    assert "batch sizes 1, 3; lengths 1, 40" in output


@pytest.mark.parametrize("error", [2e-4, float("inf")])
def test_error_over_the_tolerance_is_marked(error, capsys):
    show(report(error))
    assert "over" in line_with("logits", capsys.readouterr().out)


def test_every_packed_graph_has_a_line_of_its_own(capsys):
    worse = (OutputParity(output="logits", max_error=2e-3, mean_error=1e-3),)
    packed = PackedParity(file="gathered.onnx", tolerance=1e-4, outputs=worse, rows=(1,), tokens=(1,))
    show(report(2e-6).model_copy(update={"packed": (packed,)}))
    line = line_with("gathered.onnx", capsys.readouterr().out)
    assert "logits" in line
    assert "2.00e-03" in line
    assert "over" in line

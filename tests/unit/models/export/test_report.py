import pytest

from models.export.report import failed_outputs, is_invariant, largest_error
from server.manifest import OutputParity, ParityReport


def report(*errors, alone=0.0):
    outputs = tuple(
        OutputParity(output=f"o{index}", max_error=error, mean_error=0) for index, error in enumerate(errors)
    )
    return ParityReport(tolerance=1e-3, outputs=outputs, batched_equals_alone_max_error=alone, batch_sizes=(1,))


def test_outputs_over_the_tolerance_fail_and_those_at_it_pass():
    assert failed_outputs(report(1e-3, 1.1e-3, 0.0, float("inf"))) == ("o1", "o3")


def test_largest_error_is_over_all_outputs():
    assert largest_error(report(1e-5, 3e-4, 2e-4)) == 3e-4


@pytest.mark.parametrize(("alone", "invariant"), [(0.0, True), (1e-3, True), (2e-3, False), (float("inf"), False)])
def test_rows_are_invariant_within_the_tolerance(alone, invariant):
    assert is_invariant(report(0.0, alone=alone)) is invariant

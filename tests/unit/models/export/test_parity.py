import numpy as np
import pytest

from models.export.cases import generated_cases, sample_rows
from models.export.graph import GRAPH_FILE
from models.export.parity import Difference, measure_parity, run_network
from models.export.report import is_invariant, largest_error
from server.runtime.session import Session


def test_difference_keeps_the_largest_and_the_mean():
    difference = Difference()
    difference.add(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    difference.add(np.array([[4.0, 0.0]]), np.array([[3.0, 0.5]]))
    assert difference.largest == 1.0
    assert difference.mean == 0.5


def test_difference_of_bools_and_whole_numbers_counts():
    difference = Difference()
    difference.add(np.array([True, False]), np.array([True, True]))
    difference.add(np.array([1], dtype=np.uint8), np.array([3], dtype=np.uint8))
    assert difference.largest == 2.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_an_infinite_difference_even_to_itself(value):
    difference = Difference()
    difference.add(np.array([value]), np.array([value]))
    assert difference.largest == np.inf


def test_other_shape_is_an_infinite_difference():
    difference = Difference()
    difference.add(np.zeros((1, 3)), np.zeros((1, 1)))
    assert difference.largest == np.inf


def test_nothing_compared_is_no_difference():
    difference = Difference()
    difference.add(np.zeros((1, 0)), np.zeros((1, 0)))
    assert (difference.largest, difference.mean) == (0.0, 0.0)


class Tampered:
    """The real session, with something done to what it answers."""

    def __init__(self, session, change):
        self.session, self.change = session, change

    def run(self, inputs, outputs=None):
        return self.change(inputs, self.session.run(inputs, outputs))


@pytest.fixture
def session(candidate):
    session = Session.open(candidate / GRAPH_FILE)
    yield session
    session.close()


def measure(trained, candidate, session):
    samples = sample_rows(trained, candidate)
    cases = [samples, *generated_cases(samples, trained.signature.inputs, seed=0)]
    return measure_parity(trained, session, cases, tolerance=1e-4)


def test_report_covers_every_output_and_the_true_session_is_within(trained, candidate, session):
    report = measure(trained, candidate, session)
    assert [parity.output for parity in report.outputs] == [spec.name for spec in trained.signature.outputs]
    assert 0 < largest_error(report) < report.tolerance  # exactly zero would mean that nothing was compared
    assert is_invariant(report)
    assert {1, 3, 9} <= set(report.batch_sizes)


def test_error_in_one_value_of_one_attention_map_is_seen(trained, candidate, session):
    def change(inputs, answer):
        answer["attention_0"][0, 0, -1, 0] += 0.25
        return answer

    report = measure(trained, candidate, Tampered(session, change))
    errors = {parity.output: parity.max_error for parity in report.outputs}
    assert errors["attention_0"] == pytest.approx(0.25, abs=1e-3)
    assert errors["logits"] < report.tolerance


def test_row_that_changes_in_company_is_seen_by_batched_against_alone_only(trained, candidate, session):
    def change(inputs, answer):
        alone = len(next(iter(inputs.values()))) == 1
        return {**answer, "logits": answer["logits"] + (0.5 if alone else 0.0)}

    report = measure_parity(trained, Tampered(session, change), [sample_rows(trained, candidate)], tolerance=1e-4)
    assert largest_error(report) < report.tolerance
    assert report.batched_equals_alone_max_error == pytest.approx(0.5, abs=1e-3)
    assert not is_invariant(report)


def test_network_runs_on_arrays_by_name(trained, candidate):
    row = sample_rows(trained, candidate)[0]
    answer = run_network(trained, row)
    assert list(answer) == [spec.name for spec in trained.signature.outputs]
    assert answer["logits"].shape == (1, 3)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runtime.budget import CoreBudget


def test_cores_are_taken_while_there_are_enough():
    budget = CoreBudget(4)
    assert budget.take(3)
    assert not budget.take(2)
    assert (budget.free, budget.taken) == (1, 3)
    assert budget.take(1)
    budget.give_back(3)
    assert (budget.free, budget.taken) == (3, 1)


def test_a_budget_has_at_least_one_core():
    with pytest.raises(ValueError, match="at least one run"):
        CoreBudget(0)


@pytest.mark.parametrize("cores", [0, -1, 5])
def test_what_would_never_fit_is_refused(cores):
    with pytest.raises(ValueError, match="does not fit into a budget of 4"):
        CoreBudget(4).take(cores)


def test_more_than_was_taken_cannot_come_back():
    budget = CoreBudget(4)
    budget.take(2)
    with pytest.raises(ValueError, match="3 cores given back, 2 were taken"):
        budget.give_back(3)
    assert budget.free == 2


@given(st.integers(1, 8), st.lists(st.integers(1, 8), max_size=50))
def test_never_more_is_taken_than_there_is(cores, wanted):
    budget, taken = CoreBudget(cores), []
    for one in wanted:
        if one > cores:
            continue
        if budget.take(one):
            taken.append(one)
        else:
            budget.give_back(taken.pop(0))
        assert budget.taken == sum(taken) <= cores

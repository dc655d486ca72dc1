from hypothesis import given
from hypothesis import strategies as st

from server.batching.lattice import Lattice

lattices = st.builds(Lattice.graded, st.integers(1, 5000), step=st.integers(1, 64), octave=st.integers(1, 32))


@given(lattices, st.integers(1, 20_000))
def test_a_size_goes_up_to_a_point_and_a_point_stays(lattice, size):
    up = lattice.up(size)
    assert up >= size
    assert lattice.up(up) == up
    assert up in lattice.points or up % lattice.points[-1] == 0


@given(lattices, st.integers(1, 10_000))
def test_larger_sizes_never_go_up_to_smaller_points(lattice, size):
    assert lattice.up(size) <= lattice.up(size + 1)


@given(lattices)
def test_points_rise_and_reach_the_largest_size(lattice):
    assert list(lattice.points) == sorted(set(lattice.points))


def test_every_size_is_its_own_without_points():
    assert [Lattice.exact().up(size) for size in (1, 17, 4097)] == [1, 17, 4097]


def test_with_sixteen_an_octave_padding_is_a_few_in_a_hundred():
    lattice = Lattice.graded(4096)
    padding = [1 - size / lattice.up(size) for size in range(33, 4097)]
    assert max(padding) < 0.06
    assert sum(padding) / len(padding) < 0.025
    assert [lattice.up(size) for size in range(1, 33)] == list(range(1, 33))
    assert len(lattice.points) < 160


def test_beyond_the_last_point_its_multiples_follow():
    assert [Lattice((4, 10)).up(size) for size in (3, 9, 11, 21)] == [4, 10, 20, 30]


@given(lattices, st.integers(1, 4000))
def test_the_point_below_a_point_is_the_one_before_it(lattice, size):
    if (up := lattice.up(size)) in lattice.points:
        below = lattice.below(up)
        assert below < size
        assert below == 0 or lattice.up(below + 1) == up


def test_below_the_first_point_is_nothing_and_without_points_the_size_before():
    assert (Lattice((4, 10)).below(4), Lattice((4, 10)).below(10), Lattice.exact().below(7)) == (0, 4, 6)

"""A few out of many."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from training.spread import at_even_steps


@given(count=st.integers(0, 4000), number=st.integers(2, 100))
def test_items_lie_at_even_steps_from_the_first_to_the_last(count: int, number: int) -> None:
    places = at_even_steps(range(count), number)
    assert len(places) == min(count, number)
    assert places[:1] + places[-1:] == ([0, count - 1] if count else [])
    steps = {after - before for before, after in pairwise(places)}
    assert all(step > 0 for step in steps)
    assert max(steps, default=0) - min(steps, default=0) <= 1

"""Who is held out does not depend on who else is there."""

from hypothesis import given
from hypothesis import strategies as st

from training.data.holdout import hold_out

names = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=60)


@given(stems=names)
def test_every_image_is_on_one_side_and_both_sides_have_some(stems: set[str]) -> None:
    train, val = hold_out(stems)
    assert train | val == stems
    assert not train & val
    assert len(val) >= (2 if len(stems) >= 10 else 1)
    assert len(val) <= len(stems) / 2


@given(stems=names)
def test_the_order_of_the_names_does_not_matter(stems: set[str]) -> None:
    assert hold_out(sorted(stems)) == hold_out(sorted(stems, reverse=True))


def test_about_a_fifth_is_held_out() -> None:
    assert 150 < len(hold_out(f"IMG_{number:04}" for number in range(1000))[1]) < 250


def test_photos_that_are_added_move_no_other() -> None:
    stems = [f"IMG_{number:04}" for number in range(300)]
    _, before = hold_out(stems[:40])
    _, after = hold_out(stems)
    assert before == {stem for stem in after if stem in stems[:40]}

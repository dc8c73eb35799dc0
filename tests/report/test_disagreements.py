"""Which test images networks disagree on: each in one group, by what the two students make of its label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.report.disagreements import disagreements

ROLES = ("teacher", "baseline", "kd")


@st.composite
def answers(draw):
    """Labels, and what some networks name, of a few images in three classes."""
    images = draw(st.integers(0, 30))
    classes = st.lists(st.integers(0, 2), min_size=images, max_size=images).map(lambda found: np.array(found, np.int64))
    roles = [role for role in ROLES if draw(st.booleans())]
    return draw(classes), {role: draw(classes) for role in roles}


def test_the_groups_of_six_images_worked_out_by_hand():
    labels = np.array([0, 1, 2, 0, 1, 2])
    named = {
        "teacher": np.array([0, 1, 2, 0, 0, 2]),
        "baseline": np.array([1, 1, 2, 0, 1, 0]),
        "kd": np.array([0, 0, 2, 0, 1, 1]),
    }
    found = {group: list(positions) for group, positions in disagreements(labels, named).items()}
    assert found == {"mended": [0], "broken": [1], "other": [4, 5]}


@given(answers())
def test_every_disagreement_is_in_one_group_and_nothing_else_is(given_):
    labels, named = given_
    found = disagreements(labels, named)
    if len(named) < 2:
        assert found == {}
        return
    first, *rest = named.values()
    differ = [i for i in range(len(labels)) if any(other[i] != first[i] for other in rest)]
    assert sorted(int(i) for positions in found.values() for i in positions) == differ
    assert ("mended" in found) == ("broken" in found) == ("baseline" in named and "kd" in named)
    for i in found.get("mended", ()):
        assert named["kd"][i] == labels[i] != named["baseline"][i]
    for i in found.get("broken", ()):
        assert named["kd"][i] != labels[i] == named["baseline"][i]

"""Whether a prediction came true, from curves made by hand."""

import pytest

from tfinit.demo.outcome import FAILS, LEARNS, SLOW, Course, judge


def course(costs, accuracies, step, over=False, diverged_at=None, classes=2):
    return Course(step, over, diverged_at, costs, accuracies, classes, [0, step], 2000)


FLAT = ([0.693, 0.693], [0.5, 0.5])
HALF = ([0.70, 0.40], [0.5, 0.8])
GOOD = ([0.70, 0.02], [0.5, 0.99])


@pytest.mark.parametrize(
    "curves, step, over, predicts, outcome, came_true",
    [
        (FLAT, 2000, True, FAILS, "stuck", True),
        (FLAT, 2000, True, LEARNS, "stuck", False),
        (FLAT, 200, False, FAILS, "stuck", None),  # so far
        (HALF, 2000, True, LEARNS, "learning", True),
        (HALF, 2000, True, FAILS, "learning", False),
        (HALF, 500, False, LEARNS, "learning", None),
        (GOOD, 30, False, LEARNS, "learned", True),  # at once
        (GOOD, 30, False, FAILS, "learned", False),
        (GOOD, 2000, True, SLOW, "learned", True),
        (GOOD, 500, False, SLOW, "learned", False),  # in a quarter of the steps
        (GOOD, 501, False, SLOW, "learned", True),
        (HALF, 2000, True, SLOW, "learning", True),
        (FLAT, 2000, True, SLOW, "stuck", True),
        (FLAT, 500, False, SLOW, "stuck", None),
        (GOOD, 2000, True, None, "learned", None),
        # A cost that began far above knowing nothing, and came down to it.
        (([40.0, 0.69], [0.5, 0.5]), 2000, True, FAILS, "stuck", True),
        # No number at the end, though every loss was one.
        (([0.7, None], [0.5, 0.5]), 2000, True, FAILS, "stuck", True),
    ],
)
def test_the_table(curves, step, over, predicts, outcome, came_true):
    judged = judge(course(*curves, step, over), predicts, ("twins",))
    assert (judged["outcome"], judged["came_true"]) == (outcome, came_true)


def test_too_early_to_say():
    assert judge(course(*FLAT, 199), FAILS) is None
    assert judge(course(*FLAT, 100, over=True), FAILS)["outcome"] == "stuck"


def test_the_words():
    judged = judge(course(*FLAT, 4, True, diverged_at=4), FAILS, ("exploding", "twins"))
    assert judged["text"] == (
        "Predicted to fail (exploding, twins); it diverged at step 4. It came true."
    )
    judged = judge(course(*GOOD, 50), FAILS, ("confident start",))
    assert judged["text"] == (
        "Predicted to fail (confident start); it learned: accuracy 99.0% at step 50. "
        "It did not come true."
    )

"""Seeds give what they gave on the commit before the packages were rebuilt (17128ea)."""

import json

import numpy as np
import pytest
import seeded_values

from tfinit.pruning.scoring.after_training import score_trained


@pytest.fixture(scope="module")
def now():
    return {
        name: seeded_values.kept_of(array)
        for name, array in seeded_values.values(score_trained, renamed=True)
    }


KEPT = json.loads(seeded_values.KEPT.read_text(encoding="utf-8"))


def test_all_that_was_kept_is_still_there(now):
    assert list(now) == list(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_seed_gives_what_it_gave(now, name):
    shape, *numbers = now[name]
    kept_shape, *kept = KEPT[name]
    assert shape == kept_shape
    if isinstance(kept[0], str):
        assert numbers == kept
    else:
        # Not to the last bit, which another processor may round otherwise.
        np.testing.assert_allclose(numbers, kept, rtol=2e-3, atol=2e-5)

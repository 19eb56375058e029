import pytest

from tfinit.errors import InputError
from tfinit.plots import sensitivity_figure, sparsity_figure


def test_a_bar_for_each_layer_the_first_above():
    (axes,) = sparsity_figure({"conv": 0.5, "fc": 0.905, "head": 0.0}, "pruned").axes
    assert [bar.get_width() for bar in axes.patches] == [50, 90.5, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc", "head"]
    assert [text.get_text() for text in axes.texts] == ["50.0%", "90.5%", "0.0%"]
    below, above = axes.get_ylim()
    assert below > above


@pytest.mark.parametrize(
    "sparsities, message",
    [
        ({}, "`sparsities` is empty"),
        ({"fc": 1.5}, r"`sparsities\['fc'\]` must be a number from 0 to 1"),
    ],
)
def test_what_is_no_sparsity_is_refused(sparsities, message):
    with pytest.raises(InputError, match=message):
        sparsity_figure(sparsities, "it")


def test_a_cell_for_each_rise_of_a_loss():
    rises = {"conv": [0.1, 2.0], "fc": [-0.5, float("inf")]}
    axes, bar = sensitivity_figure(rises, [0.5, 0.9], "rises").axes
    assert [text.get_text() for text in axes.texts] == ["0.1", "2", "−0.5", "inf"]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "−0.1", "0.1", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50%", "90%"]
    with pytest.raises(
        InputError, match=r"`rises\['a'\]` has shape \(1,\): give a number for each"
    ):
        sensitivity_figure({"a": [1.0]}, [0.5, 0.9], "rises")

"""Tables by the letter."""

import pytest

from tfinit.text_table import aligned, of_shape, padded

ROWS = [("layer", "note", "zeros"), ("fc", "", "1,234"), ("output", "", "7")]


def test_words_begin_and_numbers_end_at_one_place():
    assert aligned(ROWS, right=[2]) == [
        "layer   note  zeros",
        "fc            1,234",
        "output            7",
    ]


def test_a_column_with_nothing_below_its_heading_may_be_left_out():
    assert aligned(ROWS, right=[2], drop_empty=True) == [
        "layer   zeros",
        "fc      1,234",
        "output      7",
    ]


def test_no_line_ends_in_blanks():
    assert aligned([("a", "long"), ("b", "c"), ("d", "")]) == ["a  long", "b  c", "d"]


def test_padded_cells_are_as_wide_as_their_columns():
    assert padded([("a", "22"), ("333", "")]) == [["a  ", "22"], ["333", "  "]]


def test_no_rows_are_no_lines():
    assert aligned(iter([])) == padded(iter([])) == []


def test_a_row_that_lacks_a_cell_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        aligned([("a", "b"), ("c",)])


@pytest.mark.parametrize(
    ("shape", "cell"), [((3, 3, 16), "3×3×16"), ((), "scalar"), ((None, 4), "None×4")]
)
def test_shapes(shape, cell):
    assert of_shape(shape) == cell


def test_a_name_cannot_write_to_the_terminal():
    table = [("layer", "zeros"), ("\x1b[31mfc\n\x9b2J", "7")]
    assert aligned(table) == ["layer               zeros", "\\x1b[31mfc\\n\\x9b2J  7"]

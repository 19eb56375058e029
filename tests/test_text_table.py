"""Tables by the letter."""

import pytest

from tfinit.text_table import RULE, aligned, as_wide_as, of_shape, padded, width

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


WIDE = [
    ("layer", "shape", "zeros", "of all", "note"),
    RULE,
    ("first", "3×3×16", "7", "50%", ""),
    "… 3 more",
    ("second", "16×4", "1,234", "25%", "kept, as its layer is frozen"),
]


def test_a_table_that_is_too_wide_is_folded_with_its_first_columns_in_each_part():
    with as_wide_as(26):
        assert aligned(WIDE, right=[2, 3]) == [
            "layer   shape   zeros",
            "---------------------",
            "first   3×3×16      7",
            "… 3 more",
            "second  16×4    1,234",
            "",
            "layer   of all",
            "--------------",
            "first      50%",
            "… 3 more",
            "second     25%",
            "",
            "layer   note",
            "--------------------------",
            "first",
            "… 3 more",
            "second  kept, as its layer",
            "        is frozen",
        ]
        assert width(100) == 26
    assert width(100) == 100


def test_a_row_may_be_known_by_several_columns():
    rows = [("rank", "scheme", "loss", "seconds"), ("1", "he", "2.1", "0.5")]
    with as_wide_as(20):
        assert aligned(rows, keys=2) == [
            *("rank  scheme  loss", "1     he      2.1", ""),
            *("rank  scheme  seconds", "1     he      0.5"),
        ]
        assert aligned([row[:2] for row in rows], keys=2) == ["rank  scheme", "1     he"]


def test_where_nothing_is_said_of_the_width_a_row_is_a_line():
    assert len(aligned(WIDE)) == len(WIDE)
    assert len(aligned([("a", "b" * 500)])[0]) == 503
    with as_wide_as(80):
        assert len(aligned(WIDE)) == len(WIDE)


def test_where_there_is_no_room_at_all_each_column_is_alone():
    with as_wide_as(1):
        assert aligned([("layer", "a", "b"), ("fc", "1", "2")]) == [
            *("layer  a", "fc     1", "", "layer  b", "fc     2"),
        ]

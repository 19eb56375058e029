"""Which file to ship: literal tables of what was measured."""

import json

import pytest

from tfinit.exporting import ExportReport, FileReport, Latency


def row(label, size, ms=None, accuracy=None, **changes):
    told = {
        "path": None,
        "format": "litert",
        "runtime": "LiteRT",
        "quantize": "int8" if label == "int8" else None,
        "sparse": label == "sparse",
        "bytes": size,
        "gzip_bytes": size,
        "weights": 9,
        "zeros": 0,
        "model_zeros": 0,
        "difference": 0.04,
        "latency": None if ms is None else Latency(ms, 0.99 * ms, 1.01 * ms, 9),
        "accuracy": accuracy,
        "reference": label == "dense",
    }
    return FileReport(label=label, **(told | changes))


def wide(ms):
    """A time with quartiles that touch all others."""
    return Latency(ms, 0.1 * ms, 10 * ms, 9)


@pytest.mark.parametrize(
    ("rows", "size", "speed"),
    [
        # One is smaller and faster.
        (
            [("dense", 100, 10), ("pruned", 100, 10), ("sparse", 40, 4), ("int8", 25, 3)],
            "int8",
            "int8",
        ),
        (
            [("dense", 100, 10), ("pruned", 100, 10), ("sparse", 20, 2), ("int8", 25, 3)],
            "sparse",
            "sparse",
        ),
        # One is smaller, the other faster.
        (
            [("dense", 100, 10), ("pruned", 100, 10), ("sparse", 40, 2), ("int8", 25, 5)],
            "int8",
            "sparse",
        ),
        # As fast, within a tenth: the smaller.
        (
            [("dense", 100, 10), ("pruned", 100, 10), ("sparse", 40, 5.2), ("int8", 25, 5.5)],
            "int8",
            "int8",
        ),
        # Nothing gained: the plain one.
        (
            [("dense", 100, 10), ("pruned", 100, 10), ("sparse", 101, 10), ("int8", 130, 20)],
            "pruned",
            "pruned",
        ),
        ([("dense", 100, 10), ("pruned", 100, 10), ("sparse", 99, 10)], "pruned", "pruned"),
        # Accuracy first: two points are too many, half a point is not.
        (
            [("pruned", 100, 10, 0.97), ("sparse", 40, 4, 0.97), ("int8", 25, 3, 0.95)],
            "sparse",
            "sparse",
        ),
        (
            [("pruned", 100, 10, 0.97), ("sparse", 40, 4, 0.97), ("int8", 25, 3, 0.965)],
            "int8",
            "int8",
        ),
        # No times.
        ([("pruned", 100), ("sparse", 40), ("int8", 25)], "int8", None),
    ],
)
def test_what_is_chosen(rows, size, speed):
    report = ExportReport(tuple(row(*one) for one in rows))
    assert (report.choice.size, report.choice.speed) == (size, speed)
    assert report.choice.why.startswith(f"Choose {size}")
    assert json.loads(json.dumps(report.to_dict()))["choice"]["size"] == size
    assert " ".join(str(report).split()).endswith(report.choice.why)


def test_the_numbers_are_in_the_sentence():
    rows = (row("dense", 100, 10), row("pruned", 100, 8, 0.97), row("sparse", 40, 2, 0.96))
    report = ExportReport((*rows, row("int8", 25, 5, 0.5)))
    assert report.choice.why == (
        "Choose sparse, 0.40× the bytes of dense, 5.00× as fast, 96.00% right; pruned is 1.00× the "
        "bytes of dense, 1.25× as fast, 97.00% right; int8, 0.25× the bytes of dense, 2.00× as "
        "fast, 50.00% right, is too far below the best accuracy."
    )
    report = ExportReport((row("float32", 100, 10), row("int8", 30, 20)))
    assert report.choice.why == (
        "Choose int8 for size, 0.30× the bytes of float32, 0.50× as fast, 0.04 of the outputs' "
        "spread off Keras's, and float32 for speed, 1.00× the bytes of float32, 1.00× as fast."
    )


def test_times_that_overlap_decide_nothing():
    rows = (row("pruned", 100, 10), row("int8", 30, 20, latency=wide(20)))
    assert ExportReport(rows).choice.speed == "int8"


@pytest.mark.parametrize("rows", [[("pruned", 100, 10)], [("dense", 100, 10), ("int8", 30, 9)]])
def test_with_one_candidate_there_is_nothing_to_choose(rows):
    report = ExportReport(tuple(row(*one) for one in rows), left_out=("int8 was not compared.",))
    assert report.choice is None and "Choose" not in str(report)
    assert report.to_dict()["choice"] is None
    assert str(report).endswith("int8 was not compared.")

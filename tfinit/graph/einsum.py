"""What the equation of an einsum says of the axes of its input, its kernel and its output."""

from typing import NamedTuple


class Equation(NamedTuple):
    """The letters of ``inputs,kernel->output``; the input's and the output's with their dots."""

    inputs: str
    kernel: str
    output: str


def read(equation: str) -> Equation:
    """An equation by its parts.

    Example:
        >>> read("...x, xy -> ...y")
        Equation(inputs='...x', kernel='xy', output='...y')
    """
    left, output = equation.replace(" ", "").split("->")
    inputs, kernel = left.split(",")
    return Equation(inputs, kernel.replace("...", ""), output)


def kernel_letters(equation: str) -> str:
    """What each axis of the kernel is, in the letters of `tfinit.graph.layer_kinds.Axes`.

    ``i`` is summed over, ``o`` is new in the output, ``e`` is in both: one map for each.

    Example:
        >>> kernel_letters("bex,exy->bey")
        'eio'
    """
    inputs, kernel, output = read(equation)
    letters = {(True, False): "i", (False, True): "o", (True, True): "e", (False, False): "*"}
    return "".join(letters[letter in inputs, letter in output] for letter in kernel)


def places(subscripts: str, rank: int) -> dict[str, int]:
    """Letter → its axis in a tensor of `rank` axes; dots stand for the axes that are left.

    Example:
        >>> places("a...bc", 5)
        {'a': 0, 'b': 3, 'c': 4}
    """
    before, _, after = subscripts.partition("...")
    return {letter: axis for axis, letter in enumerate(before)} | {
        letter: rank - len(after) + place for place, letter in enumerate(after)
    }

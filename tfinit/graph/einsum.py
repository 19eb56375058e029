"""What the equation of an einsum says of the axes of its input, its kernel and its output."""

from typing import NamedTuple

Shape = tuple[int | None, ...]


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


def summed_axes(equation: str) -> list[int]:
    """The axes of the kernel that are summed over: its inputs.

    Example:
        >>> summed_axes("abc,bcd->ad")
        [0, 1]
    """
    return [axis for axis, letter in enumerate(kernel_letters(equation)) if letter in "i*"]


def places(subscripts: str, rank: int) -> dict[str, int]:
    """Letter → its axis in a tensor of `rank` axes; dots stand for the axes that are left.

    Example:
        >>> places("a...bc", 5)
        {'a': 0, 'b': 3, 'c': 4}
    """
    axes = enumerate(_axes(subscripts, rank))
    return {letter: axis for axis, letter in axes if letter.isalpha()}


def made_shape(equation: str, given: Shape, made: Shape) -> Shape:
    """The shape of the output, with the sizes that it has from the input.

    Args:
        equation: The equation.
        given: The input's shape.
        made: The output's, where its sizes from the input may be open.

    Example:
        >>> made_shape("abc,cde->abde", (32, 8, 6), (None, None, 2, 3))
        (32, 8, 2, 3)
    """
    inputs, _, output = read(equation)
    sizes = dict(zip(_axes(inputs, len(given)), given, strict=True))
    axes = zip(_axes(output, len(made)), made, strict=True)
    return tuple(sizes.get(axis) or size for axis, size in axes)


def _axes(subscripts: str, rank: int) -> list[str]:
    """A name for each axis: its letter, or its place among those that dots stand for."""
    before, dots, after = subscripts.partition("...")
    between = range(rank - len(before) - len(after)) if dots else ()
    return [*before, *map(str, between), *after]

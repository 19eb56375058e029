"""The help of a flag that lists names: made when it is read, so that it has all there are."""

from collections.abc import Callable, Iterator, Mapping


class FlagHelp(Mapping[str, str]):
    """Metadata of a dataclass's field, from which the command line has the help of its flag.

    Args:
        text: Makes the help.

    Example:
        >>> fruit = ["apple"]
        >>> metadata = FlagHelp(lambda: f"One of {', '.join(fruit)}.")
        >>> fruit.append("pear")
        >>> metadata["help"]
        'One of apple, pear.'
    """

    def __init__(self, text: Callable[[], str]):
        self._text = text

    def __getitem__(self, key: str) -> str:
        if key != "help":
            raise KeyError(key)
        return self._text()

    def __iter__(self) -> Iterator[str]:
        yield "help"

    def __len__(self) -> int:
        return 1

"""What the server allows: how many runs, how long, how much."""

from dataclasses import dataclass

from tfinit.errors import InputError


@dataclass(frozen=True)
class Limits:
    """The server's limits. Times are in seconds.

    Args:
        max_runs: Runs at once whose pages listen; whoever wants one more is told to wait.
        seconds: What a run may train in all, counted by the clock while it trains.
        idle_seconds: How long a run that does not train waits for its page to say something.
        crowded_seconds: How long, while ``max_runs`` go and another page asks.
        unopened_seconds: How long a new run waits for its event stream.
        unopened: Runs that wait for theirs; of more, the oldest ends.
        unit_seconds: How long one piece of work may take before its thread is given up.
        connections: Connections at once beside one for each run; of more, one that asks nothing
            ends.
        request_seconds: How long a request may take to come, its head as well as its body.
        stalled_seconds: How long a client may take nothing of what it is sent.
        body: Bytes of a request's body.
        frames: Frames of a pane in a second, and so its updates.
        keep_alive: After so long without an event the stream says that it is still there.
        workers: Threads that train.

    Raises:
        InputError: one of them is not above 0.

    Example:
        >>> Limits(max_runs=4).idle_seconds
        600
    """

    max_runs: int = 16
    seconds: float = 900
    idle_seconds: float = 600
    crowded_seconds: float = 60
    unopened_seconds: float = 10
    unopened: int = 256
    unit_seconds: float = 120
    connections: int = 256
    request_seconds: float = 10
    stalled_seconds: float = 60
    body: int = 16 * 1024
    frames: float = 15
    keep_alive: float = 5
    workers: int = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"`{name}` must be above 0, received {value}.")


def spoken(seconds: float) -> str:
    """A time in words.

    Example:
        >>> spoken(600), spoken(60), spoken(1), spoken(0.5)
        ('10 minutes', '1 minute', '1 second', '0.5 seconds')
    """
    number, unit = (seconds / 60, "minute") if seconds % 60 == 0 else (seconds, "second")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"

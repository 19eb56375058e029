"""What one thread sees otherwise: how it looks things up, and that nobody else notices."""

import doctest
import threading

import pytest

from tfinit.graph import overlay
from tfinit.graph.overlay import overlaid


class Base:
    scale = 1

    def __init__(self):
        self.activation = "relu"

    def call(self):
        return "base"

    @property
    def size(self):
        return self._size

    @size.setter
    def size(self, value):
        self._size = value


class Child(Base):
    def call(self):
        return "child of " + super().call()


class Same(Base):
    pass


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_example_of_the_docstring():
    assert doctest.testmod(overlay).attempted > 3
    assert doctest.testmod(overlay).failed == 0


def test_inheritance_other_objects_and_other_threads():
    parts = [Base(), Child(), Same()]
    child = parts[1]
    child.call = lambda: "theirs"  # somebody else's patch
    before = [dict(vars(part)) for part in parts], [dict(vars(c)) for c in (Base, Child, Same)]
    plain = ["base", "theirs", "base"]
    with overlaid() as put:
        for part in parts:
            put(part, "call", lambda call=part.call: f"<{call()}>")
            put(part, "activation", "linear")
        assert [part.call() for part in parts] == ["<base>", "<theirs>", "<base>"]
        assert [part.activation for part in parts] == ["linear"] * 3
        assert in_thread(lambda: [part.call() for part in parts]) == plain
        assert in_thread(lambda: [part.activation for part in parts]) == ["relu"] * 3
        others = [Base(), Child(), Same()]
        assert [other.call() for other in others] == ["base", "child of base", "base"]
        assert [other.activation for other in others] == ["relu"] * 3
        assert Child.call(child) == "child of base"
        assert [dict(vars(part)) for part in parts] == before[0]
    assert [part.call() for part in parts] == plain
    assert [dict(vars(c)) for c in (Base, Child, Same)] == before[1]


def test_properties_class_attributes_and_what_is_not_there():
    base, other = Base(), Base()
    base.size = other.size = 3
    with overlaid() as put:
        put(base, "size", 5)
        put(base, "scale", 2)
        put(base, "made_up", 7)
        assert (base.size, base.scale, base.made_up) == (5, 2, 7)
        assert (other.size, other.scale, hasattr(other, "made_up")) == (3, 1, False)
        other.size = 4
        other.scale = 9
        del other.activation
        assert not hasattr(other, "activation")
        with pytest.raises(AttributeError):
            del other.made_up
    assert (base.size, base.scale, hasattr(base, "made_up")) == (3, 1, False)
    assert (other.size, other.scale) == (4, 9)


def test_what_is_assigned_to_what_was_put_is_the_threads_own():
    base = Base()
    with overlaid() as put:
        put(base, "activation", "linear")
        base.activation = "tanh"
        assert base.activation == "tanh"
        assert in_thread(lambda: base.activation) == "relu"
    assert base.activation == "relu"


def test_blocks_of_two_threads_end_in_any_order():
    base, class_before = Base(), dict(vars(Base))
    opened, closed, go_on = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def other():
        with overlaid() as put:
            put(base, "scale", "other's")
            opened.set()
            go_on.wait()
            seen.append(base.scale)
        seen.append(base.scale)
        closed.set()

    thread = threading.Thread(target=other)
    with overlaid() as put:
        put(base, "scale", "mine")
        thread.start()
        opened.wait()
        assert base.scale == "mine"
    # Theirs is still open: as in the middle of a chain.
    assert base.scale == 1
    go_on.set()
    closed.wait()
    thread.join()
    assert seen == ["other's", 1]
    assert dict(vars(Base)) == class_before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nested_blocks_and_errors(error):
    base, class_before = Base(), dict(vars(Base))
    with overlaid() as put:
        put(base, "scale", 2)
        with pytest.raises(error), overlaid() as inner:
            inner(base, "scale", base.scale + 1)
            assert base.scale == 3
            raise error
        assert base.scale == 2
    assert base.scale == 1
    assert dict(vars(Base)) == class_before


def test_what_somebody_puts_into_the_class_meanwhile_stays():
    class Own(Base):
        pass

    own = Own()
    with overlaid() as put:
        put(own, "scale", 2)
        Own.scale = 7
    assert own.scale == 7

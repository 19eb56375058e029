"""Who waits for whom, and that nobody waits for ever."""

import threading

import keras
import pytest

from tfinit.errors import InputError
from tfinit.graph.exclusive import alone


def models():
    """Two that share a layer, and one of its own."""
    shared = keras.layers.Dense(2)
    one, two = (keras.Sequential([keras.Input((2,)), shared]) for _ in range(2))
    return one, two, keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def test_models_that_share_layers_take_turns_and_others_do_not():
    one, two, other = models()
    events = []
    begun = threading.Event()

    def second():
        with alone(other):  # not waited for
            begun.set()
        with alone(two):
            events.append("two")

    thread = threading.Thread(target=second)
    with alone(one), alone(one):  # again by the same thread
        thread.start()
        assert begun.wait(60)
        events.append("one")
    thread.join()
    assert events == ["one", "two"]
    with alone(two):  # nothing is left behind
        pass


def test_two_threads_that_would_wait_for_each_other_are_told():
    one, two, other = models()
    has_other, refused = threading.Event(), threading.Event()
    found = []

    def second():
        with alone(other):
            has_other.set()
            cause = "by another thread, while this one is about"
            with pytest.raises(InputError, match=cause), alone(two):
                pass
            found.append("refused")
        refused.set()

    thread = threading.Thread(target=second)
    with alone(one):
        thread.start()
        assert has_other.wait(60)
        assert refused.wait(60)
        with alone(other):  # free again
            pass
    thread.join()
    assert found == ["refused"]


def test_an_interrupt_lets_the_next_in():
    one, two, _ = models()
    with pytest.raises(KeyboardInterrupt), alone(one):
        raise KeyboardInterrupt

    def next_one():
        with alone(two):
            pass

    thread = threading.Thread(target=next_one)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()

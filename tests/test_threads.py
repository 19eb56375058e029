"""Threads decide the last bits, and cores do not; on every backend of Keras."""

import os
import subprocess
import sys

import keras
import pytest

from tfinit.devices import in_use
from tfinit.errors import InputError
from tfinit.threads import threads_of, use_threads

pytestmark = pytest.mark.backends

# Each case in a process that has loaded the framework and computed nothing.
CASES = """
import hashlib, os, sys
import keras
import numpy as np
from tfinit.devices import in_use
from tfinit.errors import InputError
from tfinit.threads import use_threads

def case(threads, cores):
    os.sched_setaffinity(0, cores)
    use_threads(threads)
    random = np.random.default_rng(0)
    x, g = random.random((1000, 784), np.float32), random.random((1000, 300), np.float32)
    found = [g @ g.T]
    images, kernel = x[:, :768].reshape(1000, 16, 16, 3), g[:27, :16].reshape(3, 3, 3, 16)
    for value in (keras.ops.matmul(x.T, g), keras.ops.conv(images, kernel), keras.ops.qr(g)[0]):
        found.append(keras.ops.convert_to_numpy(value))
    digests = [hashlib.sha256(array.tobytes()).hexdigest()[:8] for array in found]
    use_threads(threads)
    try:
        use_threads(threads + 1)
    except InputError as error:
        return [*digests, in_use().name, error]

every = os.sched_getaffinity(0)
for threads, cores in ((1, every), (1, {min(every)}), (2, every), (2, {min(every)})):
    if not os.fork():
        print(*case(threads, cores), sep="|", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not pinned here")
def test_bits_are_those_of_the_threads_whatever_cores_there_are():
    # Without oneDNN, of which most bits are the same with any threads.
    env = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", CASES], capture_output=True, text=True, env=env)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert len(rows) == 4, done.stderr
    one, one_pinned, two, two_pinned = rows
    assert (one, two) == (one_pinned, two_pinned)
    assert (one[-2], two[-2]) == ("1 thread", "2 threads")
    assert one[-1].startswith("`threads` 2: ") and "with 1, and keeps to it" in one[-1]


def test_what_has_computed_keeps_to_its_threads():
    keras.ops.add(1, 1)
    before = in_use()
    use_threads(0)
    if keras.backend.backend() != "torch":  # which takes another number at any time
        with pytest.raises(InputError, match=r"`threads` 3: .* Begin in a new process"):
            use_threads(3)
    assert threads_of() == 0 and in_use() == before


@pytest.mark.parametrize("threads", [-1, 1.5, "2", None])
def test_threads_are_whole(threads):
    with pytest.raises(InputError, match="`threads`"):
        use_threads(threads)

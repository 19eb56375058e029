"""Per-tensor initializers: a shape in, a tensor out. Any layer of Keras 3 or tf_keras takes them.

    keras.layers.Dense(64, "relu", kernel_initializer=tfinit.initializers.He(seed=7))
    keras.layers.Dense(64, "relu", kernel_initializer="tfinit>he")

Once Keras and tfinit are imported, Keras knows each class by its name and in snake case, with the
prefix ``tfinit>``; without the prefix, ``"orthogonal"`` is still Keras's own.

Shapes without entries, ``(0, 8)``, give tensors without entries, and the classes of any rank take
``()``, a scalar, as Keras's do. ``layout`` is that of ``keras.distribution``: Keras 3.15 on JAX
passes it, and the values do not depend on it.

Seeds
-----
The values of a tensor are a function of the seed, the class, the shape, and the *path* of the
weight that is being filled (``"encoder/fc1/kernel"``), hashed by SHA-256 into the seed of one
stream. So one instance, or one seed, shared by all layers gives each weight other values, and the
same ones in any process and in any order of building. What to know:

* The names of layers and of the model around them are part of the path. Names that Keras makes up
  (``dense_7``, ``sequential_1``) count all of the process, so to build the same bits twice in one
  process, name layers and models or call ``keras.utils.clear_session()`` in between.
* An instance that meets the same path and shape in another weight goes on to the next stream: two
  towers with the same layer names differ. A new instance, or a copy by ``from_config``, starts
  again from the first.
* A call by hand, outside any weight, is pure: same seed and shape, same values, every time.
* A ``keras.random.SeedGenerator`` as the seed stands for the next integer at each call, as in
  Keras's own initializers: repeated calls differ, and so does what was built in another order. The
  config says how the generator started, and a copy by config starts there again.
* ``seed=None`` draws a seed when the instance is made, from Python's ``random`` as Keras does, so
  ``keras.utils.set_random_seed`` makes it repeatable. As in Keras the config then says None, and a
  copy by config draws another.
* The bits are those of the backend's ``keras.random``; another backend gives other bits.
"""

import keras  # noqa: F401  first: tfinit's hook on Keras may import this package in the middle

from tfinit.initializers.registry import CLASSES, import_all
from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

# The stub beside this file is for tools. What there is are the classes that the files declare.
import_all()
globals().update(CLASSES)
__all__ = sorted({*__all__, *CLASSES})

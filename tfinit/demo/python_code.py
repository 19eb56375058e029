"""A pane as Python: code that runs by itself and ends with the same cost."""

from tfinit.demo.initialization import EXAMPLES, code_for, optimizer_code
from tfinit.demo.settings import Settings

_CODE = """\
import keras

import tfinit
from tfinit.training.compiled import CompiledLoop

data = tfinit.datasets.load("{dataset}")
layers = keras.layers
model = keras.Sequential([keras.Input(data.train[0].shape[1:]), layers.Flatten()])
for n in range(1, {depth}):
    model.add(layers.Dense({width}, activation="{activation}", name=f"fc{{n}}"))
model.add(layers.Dense(data.classes, name="output"))
{initialization}
print(tfinit.diagnose(model, data.train[0][:{examples}], data.train[1][:{examples}]).verdict)

optimizer = keras.optimizers.{optimizer}
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer, loss, metrics=["accuracy"])
# As the page trains: the batches of this seed. model.fit(*data.train) orders them by itself.
CompiledLoop(model, data, xla=False)({steps}, {batch_size}, seed={seed}, evaluate_every={steps})
cost, accuracy = model.evaluate(*data.train, verbose=0)
print(f"train cost {{cost:.6g}}, accuracy {{accuracy:.4f}}")
cost, accuracy = model.evaluate(*data.test, verbose=0)
print(f"test cost {{cost:.6g}}, accuracy {{accuracy:.4f}}")
"""


def python_code(settings: Settings, pane: int) -> str:
    """Code that trains one pane of a run.

    Args:
        settings: The run.
        pane: Which of its panes.
    """
    return _CODE.format(
        dataset=settings.dataset,
        depth=settings.depth,
        width=settings.width,
        activation=settings.activation,
        initialization=code_for(settings.panes[pane], settings.seed),
        examples=EXAMPLES,
        optimizer=optimizer_code(settings.optimizer, settings.learning_rate),
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )

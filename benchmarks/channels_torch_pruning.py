"""Beside Torch-Pruning: the same networks with the same weights, pruned by both.

    pip install torch torch-pruning; python benchmarks/channels_torch_pruning.py

A small LeNet and a ResNet-20, trained with Keras on scikit-learn's digits, and the same in PyTorch.
Half of the channels of each group go, by L2 and by Taylor. Compared are the groups, the channels
that go, the seconds of planning (from the model to the choice, medians by turns), and the accuracy
of both after the same fine-tuning in PyTorch, with several seeds.
"""

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tfinit import datasets
from tfinit.pruning import ChannelPlan, channel_plan

try:
    import torch
    import torch_pruning as tp
except ImportError as error:
    raise SystemExit(f"{error}: pip install torch torch-pruning") from error

L, T = keras.layers, torch.nn
Removed = dict[str, tuple[int, ...]]  # layer → the channels of its outputs that go


# The networks. Layers have the same names in both.


def lenet() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            L.MaxPooling2D(),
            L.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dense(120, "relu", name="dense1"),
            L.Dense(84, "relu", name="dense2"),
            L.Dense(10, name="out"),
        ]
    )


class TorchLeNet(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = T.Conv2d(1, 16, 3, padding=1), T.Conv2d(16, 32, 3, padding=1)
        self.dense1, self.dense2 = T.Linear(32 * 4, 120), T.Linear(120, 84)
        self.out = T.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.conv1, self.conv2:
            x = torch.max_pool2d(torch.relu(conv(x)), 2)
        x = torch.relu(self.dense1(torch.flatten(x, 1)))
        return self.out(torch.relu(self.dense2(x)))


# Stage and block of ResNet-20 → filters and stride.
BLOCKS = {
    f"s{stage}b{block}": (16 * 2**stage, 2 if stage and not block else 1)
    for stage in range(3)
    for block in range(3)
}


def resnet20() -> keras.Model:
    def conv(x, filters, size, stride, name):
        if stride > 1 and size > 1:  # as PyTorch pads, on all sides
            x = L.ZeroPadding2D(1)(x)
        padding = "valid" if stride > 1 else "same"
        x = L.Conv2D(filters, size, stride, padding, use_bias=False, name=name)(x)
        return L.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)

    given = keras.Input((8, 8, 1))
    x = L.ReLU()(conv(given, 16, 3, 1, "stem"))
    for name, (filters, stride) in BLOCKS.items():
        y = L.ReLU()(conv(x, filters, 3, stride, f"{name}_1"))
        y = conv(y, filters, 3, 1, f"{name}_2")
        if stride > 1:
            x = conv(x, filters, 1, stride, f"{name}_short")
        x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(given, L.Dense(10, name="out")(L.GlobalAveragePooling2D()(x)))


class TorchResNet20(T.Module):
    def __init__(self) -> None:
        super().__init__()

        def conv(inputs: int, filters: int, size: int, stride: int, name: str) -> None:
            made = T.Conv2d(inputs, filters, size, stride, size // 2, bias=False)
            self.add_module(name, made)
            self.add_module(f"{name}_bn", T.BatchNorm2d(filters, eps=1e-3))

        conv(1, 16, 3, 1, "stem")
        inputs = 16
        for name, (filters, stride) in BLOCKS.items():
            conv(inputs, filters, 3, stride, f"{name}_1")
            conv(filters, filters, 3, 1, f"{name}_2")
            if stride > 1:
                conv(inputs, filters, 1, stride, f"{name}_short")
            inputs = filters
        self.out = T.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def conv(x: torch.Tensor, name: str) -> torch.Tensor:
            return getattr(self, f"{name}_bn")(getattr(self, name)(x))

        x = torch.relu(conv(x, "stem"))
        for name, (_, stride) in BLOCKS.items():
            y = conv(torch.relu(conv(x, f"{name}_1")), f"{name}_2")
            x = torch.relu((conv(x, f"{name}_short") if stride > 1 else x) + y)
        return self.out(x.mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], keras.Model], type[T.Module], int]] = {
    "lenet": (lenet, TorchLeNet, 15),  # epochs
    "resnet20": (resnet20, TorchResNet20, 15),
}


def to_torch(model: keras.Model, made: T.Module) -> T.Module:
    """The same weights in PyTorch's layout."""

    def put(parameter: torch.Tensor, value: np.ndarray) -> None:
        parameter.data = torch.tensor(np.ascontiguousarray(value))

    for name, module in made.named_children():
        layer = model.get_layer(name)
        weights = [keras.ops.convert_to_numpy(weight) for weight in layer.weights]
        if isinstance(module, T.BatchNorm2d):
            gamma, beta, mean, variance = weights
            put(module.weight, gamma)
            put(module.bias, beta)
            module.running_mean, module.running_var = torch.tensor(mean), torch.tensor(variance)
            continue
        kernel = weights[0]
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        elif name == "dense1":  # reads (rows, columns, channels); there (channels, rows, columns)
            kernel = kernel.reshape(2, 2, -1, kernel.shape[1]).transpose(2, 0, 1, 3)
            kernel = kernel.reshape(-1, kernel.shape[3]).T
        else:
            kernel = kernel.T
        put(module.weight, kernel)
        if module.bias is not None:
            put(module.bias, weights[1])
    return made.eval()


def torch_images(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


# Both choices.


def plan_here(model: keras.Model, x: np.ndarray, y: np.ndarray, score: str) -> ChannelPlan:
    return channel_plan(
        model,
        *((x, y) if score == "taylor" else ()),
        target={"channels": 0.5},
        score=score,
        allocation="uniform",
        round_to=1,
        protect=0,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        batch_size=len(x),
    )


def plan_there(model: T.Module, x: torch.Tensor, y: torch.Tensor, score: str) -> list[tp.Group]:
    """The groups with the channels that go, of a model that is not changed."""
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    if score == "taylor":
        importance = tp.importance.GroupTaylorImportance()
        model.zero_grad()
        T.functional.cross_entropy(model(x), y).backward()
    pruner = tp.pruner.BasePruner(
        model, x[:1], importance, pruning_ratio=0.5, ignored_layers=[model.out]
    )
    return list(pruner.step(interactive=True))


def removed_here(plan: ChannelPlan) -> Removed:
    return {name: group.removed for group in plan.groups for name in group.layers}


def removed_there(model: T.Module, groups: list[tp.Group]) -> Removed:
    names = {module: name for name, module in model.named_modules()}
    made = (tp.prune_conv_out_channels, tp.prune_linear_out_channels)
    return {
        names[dep.target.module]: tuple(sorted(indices))
        for group in groups
        for dep, indices in group
        if dep.handler in made
    }


def fine_tuned(model: T.Module, data: tuple, test: tuple, seed: int) -> float:
    """Accuracy in percent after five epochs of Adam."""
    torch.manual_seed(seed)
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = data
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            T.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return 100 * float((model(test[0]).argmax(1) == test[1]).float().mean())


def medians(runs: dict[str, Callable[[], object]], times: int = 7) -> dict[str, float]:
    took: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(times + 1):
        for label, run in runs.items():
            start = time.perf_counter()
            run()
            took[label].append(time.perf_counter() - start)
    return {label: statistics.median(each[1:]) for label, each in took.items()}


def compare(name: str, seeds: list[int]) -> None:
    build, made, epochs = NETWORKS[name]
    keras.utils.set_random_seed(0)
    digits = datasets.load("digits")
    (x, y), (x_test, y_test) = (
        (np.reshape(a, (-1, 8, 8, 1)).astype("float32"), b) for a, b in (digits.train, digits.test)
    )
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    there = to_torch(model, made())
    data = torch_images(x), torch.tensor(y).long()
    test = torch_images(x_test), torch.tensor(y_test).long()
    with torch.no_grad():
        outputs = there(test[0]).numpy()
    expected = model.predict(x_test, verbose=0)
    difference = np.abs(outputs - expected).max() / np.abs(expected).max()
    dense = 100 * float((expected.argmax(1) == y_test).mean())
    print(
        f"\n{name}: {dense:.2f}% dense; PyTorch computes the same to {difference:.1g}", flush=True
    )
    few = 256
    for score in ("l2", "taylor"):
        here = plan_here(model, x[:few], y[:few], score)
        ours = removed_here(here)
        pruned = copy.deepcopy(there)
        found = plan_there(pruned, data[0][:few], data[1][:few], score)
        theirs = removed_there(pruned, found)
        coupled = {frozenset(removed_there(pruned, [group])) for group in found}
        same_groups = coupled == {frozenset(group.layers) for group in here.groups}
        equal = sum(ours[layer] == theirs[layer] for layer in ours)
        took = medians(
            {
                "here": lambda s=score: plan_here(model, x[:few], y[:few], s),
                "there": lambda s=score: plan_there(there, data[0][:few], data[1][:few], s),
            }
        )
        for group in found:
            group.prune()
        small = to_torch_pruned(here.apply(model).model, made)
        accuracies = {
            label: [fine_tuned(network, data, test, seed) for seed in seeds]
            for label, network in (("here", small), ("there", pruned))
        }
        print(
            f"  {score}: groups {'the same' if same_groups else 'DIFFERENT'} ({len(here.groups)}), "
            f"the same channels go of {equal} of {len(ours)} layers; planned in "
            f"{1e3 * took['here']:.0f} ms, Torch-Pruning {1e3 * took['there']:.0f} ms; fine-tuned "
            + ", ".join(
                f"{label} {np.mean(a):.2f} ± {np.std(a, ddof=1):.2f}"
                for label, a in accuracies.items()
            ),
            flush=True,
        )
        for layer in ours:
            if ours[layer] != theirs.get(layer):
                print(f"    {layer}: {ours[layer]} here, {theirs.get(layer)} there", flush=True)


def to_torch_pruned(model: keras.Model, made: type[T.Module]) -> T.Module:
    """A network of Keras that lost channels, in PyTorch: weights say how wide its layers are."""
    found = to_torch(model, made())
    for module in found.children():
        if isinstance(module, T.Conv2d):
            module.out_channels, module.in_channels = module.weight.shape[:2]
        elif isinstance(module, T.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, T.BatchNorm2d):
            module.num_features = len(module.weight)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"torch-pruning {tp.__version__}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    for name in args.network or NETWORKS:
        compare(name, args.seeds)


if __name__ == "__main__":
    main()

"""Weights of PyTorch's files, by what networks of both libraries put out."""

import json

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize

torch = pytest.importorskip("torch")
nn = torch.nn


def write_safetensors(path, tensors):
    """The format by hand: length of the header, the header, the bytes."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    types = {"float32": "F32", "int64": "I64", "float16": "F16"}
    for name, tensor in tensors.items():
        array = tensor.numpy()
        at = [len(content), len(content) + array.nbytes]
        kind = types[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": at}
        content += array.tobytes()
    told = json.dumps(header).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + content)


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding="same")
        self.norm = nn.BatchNorm2d(6, eps=1e-3)
        self.depth = nn.Conv2d(6, 12, 3, padding="same", groups=6)
        self.group = nn.Conv2d(12, 8, 1, groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.act = nn.PReLU(4)
        self.head = nn.Linear(4 * 8 * 6, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = self.act(self.up(self.group(self.depth(x))))
        return self.head(x.flatten(1))


def convolutions():
    layers = [
        L.Conv2D(6, 3, padding="same", name="stem"),
        L.BatchNormalization(name="norm"),
        L.ReLU(),
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depth"),
        L.Conv2D(8, 1, groups=2, name="group"),
        L.Conv2DTranspose(4, 2, strides=2, name="up"),
        L.PReLU(shared_axes=[1, 2], name="act"),
        L.Flatten(),
        L.Dropout(0.5),
        L.Dense(5, name="head"),
    ]
    return keras.Sequential([keras.Input((4, 3, 3)), *layers])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 6)
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.rnn = nn.RNN(4, 4, batch_first=True)
        self.norm = nn.LayerNorm(4, eps=1e-3)
        self.project = nn.Linear(4, 6)

    def forward(self, x):
        x = self.table(x)
        for layer in (self.gru, self.lstm, self.rnn):
            x, _ = layer(x)
        return self.project(self.norm(x))


def words():
    layers = [
        L.Embedding(9, 6, name="table"),
        *(
            kind(4, return_sequences=True, name=name)
            for kind, name in ((L.GRU, "gru"), (L.LSTM, "lstm"), (L.SimpleRNN, "rnn"))
        ),
        L.LayerNormalization(name="norm"),
        L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", name="project"),
    ]
    return keras.Sequential([keras.Input((7,), dtype="int32"), *layers])


def given(network):
    """A network as after training, and its outputs."""
    torch.manual_seed(0)
    made = network().eval()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name else -0.4))
    if network is Words:
        x = np.random.default_rng(0).integers(0, 9, (2, 7))
        return made, x, made(torch.from_numpy(x)).detach().numpy()
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype("float32")
    turned = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    return made, x, made(turned).detach().numpy()


@pytest.mark.parametrize(("network", "make"), [(Convolutions, convolutions), (Words, words)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_outputs_are_those_of_pytorch(network, make, suffix, tmp_path):
    of, x, wanted = given(network)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": of.state_dict(), "step": 3}, path)
    else:
        write_safetensors(path, of.state_dict())
    model = make()
    report = initialize(model, "pretrained", seed=1, source=path)
    assert {record.action for record in report} == {"set"}
    found = keras.ops.convert_to_numpy(model(x)).reshape(wanted.shape)
    assert np.abs(found - wanted).max() < 2e-6 * max(1, np.abs(wanted).max())
    surplus = ["not used of the source: norm.num_batches_tracked"] * (network is Convolutions)
    assert report.notes == surplus


def test_names_say_which_is_which(tmp_path):
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    path = tmp_path / "weights.pth"
    torch.save({f"net.{k}": v for k, v in blocks.state_dict().items()}, path)
    hidden, head = L.Dense(4, "relu", name="hidden"), L.Dense(2, name="head")
    model = keras.Sequential([keras.Input((3,)), hidden, head])
    x = np.ones((1, 3), "float32")
    names = {"hidden": "net.0", "head/kernel": "net.2.weight", "head/bias": "net.2.bias"}
    report = initialize(model, "pretrained", source=path, names=names, freeze=True)
    assert np.allclose(model(x), blocks(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
    assert report["head/kernel"].note == "net.2.weight by name"
    assert not hidden.trainable
    fresh = keras.Sequential([keras.Input((3,)), L.Dense(4, name="hidden"), L.Dense(9, name="x")])
    report = initialize(fresh, "pretrained", source=path, names={"hidden": "net.0", "x": "net.2"})
    assert report["x/kernel"].note == "the source's has shape (2, 4), in PyTorch's order of axes"
    assert report.notes == ["not used of the source: net.2.bias, net.2.weight"]


def test_names_of_another_keras_model():
    one, two = (
        keras.Sequential([keras.Input((3,)), *(L.Dense(3, name=name) for name in names)])
        for names in ("pq", "ab")
    )
    initialize(two, "pretrained", source=one, names={"a": "q", "b/kernel": "p/kernel"})
    assert np.array_equal(two.layers[0].kernel, one.layers[1].kernel)
    assert np.array_equal(two.layers[1].kernel, one.layers[0].kernel)


def test_an_array_under_a_stable_key_is_kerass_own(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"fc/kernel": torch.arange(4.0).reshape(2, 2)})
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, name="fc")])
    initialize(model, "pretrained", source=path)
    assert model.layers[0].kernel.numpy().tolist() == [[0, 1], [2, 3]]


class Command:
    def __reduce__(self):
        return print, ("code in a file ran",)


@pytest.mark.parametrize(
    ("content", "names", "message"),
    [
        (lambda p: torch.save(nn.Linear(3, 4), p), {}, "torch.save\\(model.state_dict\\(\\), path"),
        (lambda p: torch.save({"a": Command()}, p), {}, "without running what is in it"),
        (lambda p: torch.save({"step": 1}, p), {}, "no tensors by name"),
        (lambda p: torch.save({"x.weight": torch.ones(4, 3)}, p), {}, r"matches.*Say which is"),
        (
            lambda p: torch.save({"net.fc1.weight": torch.ones(4, 3)}, p),
            {"fc": "net.fc"},
            r"`names\['fc'\]`: the source has nothing called 'net.fc'. Near it is net.fc1",
        ),
        (
            lambda p: torch.save({"net.weight": torch.ones(4, 3)}, p),
            {"fd": "net"},
            "`names`: the model has nothing called 'fd'. Near it is fc",
        ),
    ],
)
def test_errors_change_nothing_and_run_nothing(content, names, message, tmp_path, capsys):
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, name="fc")])
    before = model.get_weights()
    content(tmp_path / "weights.pt")
    with pytest.raises(InputError, match=message):
        initialize(model, "pretrained", source=tmp_path / "weights.pt", names=names)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 30,
        (10**9).to_bytes(8, "little") + b"{}",
        *(
            len(told).to_bytes(8, "little") + told + bytes(48)
            for told in (
                b'{"fc.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 4000]}}',
                b'{"fc.weight": {"dtype": "F32", "shape": [4, 30], "data_offsets": [0, 48]}}',
                b'{"fc.weight": {"dtype": "F31", "shape": [4, 3], "data_offsets": [0, 48]}}',
                b"[1, 2]",
            )
        ),
    ],
)
def test_an_altered_file_is_refused(content, tmp_path):
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, name="fc")])
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        initialize(model, "pretrained", source=path)

"""What is changed in a source file: the rest stays as it was, and it is Python still."""

import ast

import keras
import pytest

from tfinit.diagnostics.fixing import source as module
from tfinit.diagnostics.fixing.call_sites import CallSites, Site, call_at, site_of
from tfinit.diagnostics.fixing.source import Source, literal, name_of_keras, renamed


def call_of(source):
    return next(node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Dense(1)", 'Dense(1, activation="relu")'),
        ('Dense(1, "tanh")  # ä', 'Dense(1, "relu")  # ä'),
        ("é = Dense(1, activation=name)", 'é = Dense(1, activation="relu")'),
        ("Dense(units=1, name='é')", "Dense(units=1, name='é', activation=\"relu\")"),
        ("Dense(1,)", 'Dense(1, activation="relu")'),
        ("Dense((1))", 'Dense((1), activation="relu")'),
        ("Dense()", 'Dense(activation="relu")'),
        (
            "if x:\n    Dense(\n        1,\n        name='a',  # of it\n    )\n",
            "if x:\n    Dense(\n        1,\n        name='a',  # of it\n"
            '        activation="relu",\n    )\n',
        ),
        ("Dense(\n    1\n)", 'Dense(\n    1, activation="relu"\n)'),
        ('Dense(1, "relu")', 'Dense(1, "relu")'),
        ("Dense(*sizes)", None),
        ("Dense(1, **options)", None),
    ],
)
def test_an_argument_of_a_call(before, after):
    source = Source(before)
    done = source.set_argument(call_of(source), keras.layers.Dense, "activation", '"relu"')
    assert done == (after is not None)
    assert source.changed() == (after or before)
    assert ast.parse(source.changed())


def test_arguments_of_base_classes_are_known_and_others_are_not():
    source = Source("Dense(1)")
    assert not source.set_argument(call_of(source), keras.layers.Dense, "colour", "1")
    assert source.set_argument(call_of(source), keras.layers.Dense, "trainable", "True")
    source = Source("Adam(0.1)")
    assert source.set_argument(call_of(source), keras.optimizers.Adam, "clipnorm", "1.0")
    assert source.changed() == "Adam(0.1, clipnorm=1.0)"
    assert source.set_argument(call_of(source), keras.optimizers.Adam, "learning_rate", "0.01")
    assert source.changed() == "Adam(0.01, clipnorm=1.0)"
    assert not source.set_argument(call_of(source), keras.optimizers.Adam, "learning_rate", "0.02")


def test_lines_and_imports_are_added_where_they_belong():
    text = '"""Doc."""\nimport keras\n\ndef build():\n    model = f()\n    return model\n'
    source = Source(text)
    last = source.tree.body[-1].body[-1]
    source.add_before(last, "first(model)")
    source.add_before(last, "second(model)")
    source.add_import("tfinit")
    source.add_import("keras")
    source.add_import("numpy", "np")
    imports = "import keras\nimport tfinit\nimport numpy as np\n"
    expected = text.replace("import keras\n", imports)
    lines = "    first(model)\n    second(model)\n    return"
    assert source.changed() == expected.replace("    return", lines)
    for begin in ("", '"""Doc."""\n'):
        source = Source(f"{begin}x = 1\n")
        source.add_import("tfinit")
        assert source.changed() == f"{begin}import tfinit\nx = 1\n"


def test_a_line_of_code_has_the_names_of_the_program():
    names = {"tfinit": "tfinit", "model": "net", "x": "images"}
    assert renamed("tfinit.f(model, x=x, s='x')", names) == "tfinit.f(net, x=images, s='x')"
    assert renamed("a = model\nx = x / a", names) == "a = net\nimages = images / a"
    assert renamed("tfinit.f(model, y)", names) is None
    assert renamed("y = y / 2", names) is None
    assert renamed("set the rate", names) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"b', '"a\\"b"'),
        (0.00012345, "0.000123"),
        (1.0, "1.0"),
        (2, "2"),
        (None, "None"),
        (["mae"], '["mae"]'),
    ],
)
def test_values_are_written_as_in_a_program(value, text):
    assert literal(value) == text
    assert not isinstance(value, str | list) or ast.literal_eval(text) == value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import keras", "keras"),
        ("import keras as k", "k"),
        ("import tensorflow as tf", "tf.keras"),
        ("from tensorflow import keras", "keras"),
        ("from keras import layers", None),
    ],
)
def test_how_a_file_calls_keras(text, name):
    assert name_of_keras(ast.parse(text)) == name


def test_the_calls_that_made_a_model_are_seen(tmp_path):
    path = tmp_path / "prog.py"
    text = (
        "import keras\n"
        "from keras.layers import Dense\n"
        "def build():\n"
        "    é = Dense(2, name='é'); model = keras.Sequential([keras.Input((3,)), é])\n"
        "    for n in range(2): model.add(Dense(4))\n"
        "    model.compile(keras.optimizers.SGD(0.1), loss='mse')\n"
        "    return model\n"
    )
    names = {}
    exec(compile(text, str(path), "exec"), names)
    sites = CallSites(str(path))
    model = sites.watch(names["build"])
    tree = ast.parse(text)

    def of(thing):
        return ast.unparse(call_at(tree, sites.made(thing), type(thing).__name__))

    first, second, third = model.layers
    assert of(first) == "Dense(2, name='é')"
    assert of(second) == of(third) == "Dense(4)"
    assert sites.made_at(sites.made(second)) == [second, third]
    assert of(model.optimizer) == "keras.optimizers.SGD(0.1)"
    compiled = call_at(tree, sites.compiled(model), "compile")
    assert ast.unparse(compiled).startswith("model.compile(")
    assert sites.made(keras.layers.Dense(1)) is None and sites.compiled(first) is None


def test_a_call_is_found_by_its_line_where_python_says_no_more():
    tree = ast.parse("a = Dense(\n  2)\nb = [Dense(1), Dense(2)]\n")
    assert site_of(call_at(tree, Site(2, 2, -1, -1), "Dense")) == Site(1, 2, 4, 4)
    assert call_at(tree, Site(3, 3, -1, -1), "Dense") is None
    assert call_at(tree, Site(1, 1, -1, -1), "LSTM") is None


def test_the_difference_names_the_file():
    assert module.difference("a\nb\n", "a\nc\n", "f.py").splitlines() == [
        *("--- f.py", "+++ f.py", "@@ -1,2 +1,2 @@", " a", "-b", "+c")
    ]
    assert module.difference("a\n", "a\n", "f.py") == ""

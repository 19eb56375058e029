"""What people and tools see of tfinit: every public name, listed once, loaded when it is used."""

import ast
import importlib
import importlib.util
import pickle
import pkgutil
import pydoc
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from IPython.core.completer import Completer
from public_surface import PUBLIC_MODULES

import tfinit
from tfinit.initializers.registry import CLASSES

ROOT = Path(tfinit.__file__).parent
PACKAGES = ["tfinit"]
PACKAGES += [f"tfinit.{n}" for n in PUBLIC_MODULES if ROOT.joinpath(*n.split(".")).is_dir()]
MODULES = [f"tfinit.{name}" for name in PUBLIC_MODULES if f"tfinit.{name}" not in PACKAGES]


def test_a_package_has_the_names_of_its_stub_and_shows_them_before_they_are_loaded():
    # What is seen here is of other tests too, so a name may well be loaded.
    assert {"tfinit.lottery", "tfinit.pruning", "tfinit.initializers"} <= set(PACKAGES)
    stubs = {".".join(["tfinit", *p.parent.relative_to(ROOT).parts]) for p in ROOT.rglob("*.pyi")}
    for package in stubs:
        home = importlib.import_module(package)
        tree = ast.parse(Path(home.__file__).with_suffix(".pyi").read_text())
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        names = [alias.asname for node in imports for alias in node.names]
        assert sorted(names) == sorted(home.__all__) == sorted(dir(home)), package
        assert all(hasattr(home, name) for name in names)


def test_every_initializer_is_in_the_stub():
    package = "tfinit.initializers"
    homes = {n: c.__module__ for n, c in CLASSES.items() if c.__module__.startswith(f"{package}.")}
    stub = Path(tfinit.initializers.__file__).with_suffix(".pyi").read_text().splitlines()
    asked = [f"from {home.removeprefix(package)} import {n} as {n}" for n, home in homes.items()]
    assert len(asked) > 10 and [line for line in asked if line not in stub] == []


@pytest.mark.parametrize("module", MODULES)
def test_all_has_what_a_public_module_defines(module):
    home = importlib.import_module(module)
    defined = []
    for node in ast.parse(Path(home.__file__).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined += [target.id for target in targets if isinstance(target, ast.Name)]
    public = {n for n in defined if not n.startswith("_")}
    assert public <= set(home.__all__)
    others = [getattr(home, name) for name in home.__all__ if name not in public]
    assert all(thing.__module__.startswith("tfinit.") for thing in others)  # of a part of it


@pytest.mark.parametrize(
    "typed, some",
    [
        ("tfinit.", {"initialize", "diagnose", "pruning", "lottery", "variables"}),
        ("tfinit.lottery.", {"run", "stability", "LotteryConfig", "Ticket"}),
        ("tfinit.pruning.", {"SparseOptimizer", "compact", "TfmotPruner"}),
        ("tfinit.pruning.prune_l", {"prune_layerwise", "prune_low_magnitude"}),
    ],
)
def test_ipython_completes_the_public_names(typed, some):
    completed = Completer(namespace={"tfinit": tfinit}).attr_matches(typed)
    package, _, begun = typed.rpartition(".")
    public = {n for n in importlib.import_module(package).__all__ if n.startswith(begun)}
    shown = {text.rpartition(".")[2] for text in completed}
    assert {name for name in shown if not name.startswith("_")} == public >= some


def test_a_type_checker_resolves_every_public_name(tmp_path):
    lines = ["import tfinit"]
    for module in [*PACKAGES, *MODULES]:
        names = importlib.import_module(module).__all__
        lines += [f"from {module} import {name} as _{len(lines)}_{name}" for name in names]
    good = len(lines)
    lines += ["from tfinit.lottery import nonsense", "tfinit.pruning.compact()"]
    lines += ["tfinit.lottery.run(3)", "tfinit.nonsense"]
    (tmp_path / "names.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "ty", "check", "--output-format", "concise"]
    command += ["--python", sys.executable, "--extra-search-path", str(ROOT.parent), "names.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    found = [line for line in done.stdout.splitlines() if line.startswith("names.py:")]
    faulty = {int(line.split(":")[1]) for line in found}
    assert faulty == {good + 1, good + 2, good + 3, good + 4}, done.stdout + done.stderr


def test_what_is_installed_has_the_stubs():
    import setuptools  # noqa: F401  (brings the next one, which Python has no more)

    core = importlib.import_module("distutils.core")
    setup = core.run_setup(str(ROOT.parent / "setup.py"), stop_after="config")
    command = setup.get_command_obj("build_py")
    command.ensure_finalized()
    shipped = {Path(d) / name for _, d, _, names in command.data_files for name in names}
    stubs = {path.relative_to(ROOT.parent) for path in ROOT.rglob("*.pyi")}
    assert stubs and stubs <= shipped


def test_star_import_pickle_and_help_work():
    names = {}
    exec("from tfinit.pruning import *", names)
    assert names.keys() - {"__builtins__"} == set(tfinit.pruning.__all__)
    for thing in (tfinit.lottery.LotteryConfig, tfinit.initialize, tfinit.lottery.stability):
        assert pickle.loads(pickle.dumps(thing)) is thing
    told = pydoc.render_doc(tfinit.fine_tuning, renderer=pydoc.plaintext)
    assert "class PruneConfig" in told and "fine_tune(" in told
    assert "recommend(" in pydoc.render_doc(tfinit, renderer=pydoc.plaintext)


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    assert isinstance(importlib.import_module("tfinit.schemes.initialize"), ModuleType)
    assert isinstance(tfinit.schemes.initialize, FunctionType)
    sys.modules.pop("tfinit.lottery.stability", None)
    with pytest.warns(DeprecationWarning, match="is now tfinit.lottery.stability_experiment"):
        importlib.import_module("tfinit.lottery.stability")
    assert isinstance(tfinit.lottery.stability, FunctionType)
    from tfinit.lottery.stability import barrier

    assert barrier([0.1, 0.5, 0.1]) == pytest.approx(0.4)


def test_modules_of_a_package_are_attributes_also_under_their_former_names():
    assert tfinit.plots.style.__name__ == "tfinit.plots.style"
    sys.modules.pop("tfinit.pruning.scores", None)
    vars(tfinit.pruning).pop("scores", None)
    with pytest.warns(DeprecationWarning, match="is now tfinit.pruning.scoring.before_training"):
        scores = tfinit.pruning.scores
    assert scores.snip is importlib.import_module("tfinit.pruning.scoring.before_training").snip
    with pytest.raises(AttributeError, match=r"'tfinit.pruning' has no attribute 'nonsense'"):
        _ = tfinit.pruning.nonsense


def test_every_package_with_public_names_has_one_way_to_them():
    for found in pkgutil.walk_packages(tfinit.__path__, "tfinit."):
        if found.ispkg:
            home = Path(importlib.util.find_spec(found.name).origin)
            defines = {n.name for n in ast.parse(home.read_text()).body if hasattr(n, "name")}
            assert not defines & {"__getattr__", "__dir__"}, found.name

"""The container's files without a container: the entry point, the versions, what names what."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
# Comments are JSON's in none but this file.
DEVCONTAINER = json.loads(
    re.sub(r"^\s*//.*$", "", (ROOT / ".devcontainer/devcontainer.json").read_text(), flags=re.M)
)
PINS = dict(
    line.split("==")
    for line in (ROOT / "docker" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)
# The settings of an image → the extra that they bring.
DEVICES = {("tensorflow", "gpu"): "gpu", ("jax", "cpu"): "jax", ("jax", "gpu"): "jax-gpu"}


@cache
def asked_for() -> dict[str, list[Requirement]]:
    """What setup.py asks for: by extra, and without one under the empty name."""
    show = (
        "import json, setuptools; from distutils.core import run_setup; "
        "d = run_setup('setup.py', stop_after='init'); "
        "print(json.dumps({'': d.install_requires, **d.extras_require}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", show], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return {name: [*map(Requirement, given)] for name, given in json.loads(shown).items()}


def needs(requirement: Requirement) -> list[Requirement]:
    """What a requirement asks for in turn, as far as it is installed here."""
    try:
        found = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return []
    extras = ["", *requirement.extras]
    return [
        needed
        for needed in map(Requirement, found)
        if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras)
    ]


@pytest.mark.parametrize(("framework", "device"), [("tensorflow", "cpu"), *DEVICES])
def test_every_package_of_an_image_has_its_version_within_its_range(framework, device):
    extras = re.search(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.M)[1].split(",")
    own = DEVICES.get((framework, device))
    brought = f"{framework}-{device}) extras=${{EXTRAS}}{f',{own}' if own else ''} ;;"
    assert brought in DOCKERFILE
    left = [r for name in ("", *extras, *filter(None, [own])) for r in asked_for()[name]]
    left += [Requirement("setuptools>=77"), Requirement("dumb-init")]
    seen, bad = set(), []
    while left:
        requirement = left.pop()
        if str(requirement) in seen or (requirement.marker and not requirement.marker.evaluate()):
            continue
        seen.add(str(requirement))
        pin = PINS.get(canonicalize_name(requirement.name))
        if pin is None or not requirement.specifier.contains(Version(pin), prereleases=True):
            bad.append(f"{requirement}: {pin}")
        left += needs(requirement)
    assert not bad
    assert len(seen) > 50


def test_cuda_is_of_one_framework_in_an_image():
    cuda = {name for name in PINS if name.startswith(("nvidia-", "jax-cuda"))}
    of_tensorflow = {canonicalize_name(r.name) for r in needs(asked_for()["gpu"][0])} & cuda
    assert len(of_tensorflow) == 12
    assert all(name.endswith("-cu12") for name in of_tensorflow)
    assert not [name for name in cuda - of_tensorflow if name.endswith("-cu12")]
    assert {"nvidia-cudnn-cu13", "jax-cuda13-plugin"} <= cuda


def build_context() -> set[Path]:
    """What .dockerignore lets through, as its manual says: the last rule that fits wins."""
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if not rule.startswith("#")]

    def sent(path: Path) -> bool:
        names = [str(path), *map(str, path.parents)]
        kept = True
        for rule in rules:
            pattern = rule.lstrip("!").removeprefix("**/")
            if any(fnmatch(name, pattern) for name in (path.parts if "**/" in rule else names)):
                kept = rule.startswith("!")
        return kept

    found = [path for path in ROOT.iterdir() if path.name[0] != "." or path.is_file()]
    for directory in [path for path in found if path.is_dir()]:
        found += directory.rglob("*")
    return {at for p in found if p.is_file() and sent(at := p.relative_to(ROOT))}


def test_the_build_gets_what_it_copies_and_nothing_else():
    context, copied = build_context(), []
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.M):
        copied += [Path(w) for w in line.split()[:-1] if not w.startswith("--")]
    for path in context:
        assert any(path == c or c in path.parents for c in copied), path
    for path in copied:
        assert any(path == c or path in c.parents for c in context), path
    assert {"tfinit", "scripts", "docker"} == {p.parts[0] for p in context if len(p.parts) > 1}
    assert not [p for p in context if "_attack" in p.name or "__pycache__" in p.parts]


def test_a_change_of_the_source_or_the_readme_leaves_the_layer_of_the_packages():
    before = DOCKERFILE.split("pip install --constraint")[0]
    copied = re.findall(r"^COPY (.*) \./$", before, re.M)
    assert copied == ["setup.py pyproject.toml docker/constraints.txt"]
    after = DOCKERFILE.split("FROM packages")[1]
    assert "--no-index --no-deps --no-build-isolation" in after
    assert after.count("pip ") == 1


def test_compose_and_the_dev_container_name_what_is_there():
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))
    builds = [service["build"] for service in COMPOSE["services"].values()]
    places = [(b["context"], b["dockerfile"], b["args"], ROOT) for b in builds]
    build = DEVCONTAINER["build"]
    places.append(("..", build["dockerfile"], build["args"], ROOT / ".devcontainer"))
    for context, dockerfile, given, here in places:
        assert (here / context).resolve() == ROOT
        assert (here / dockerfile).resolve() == ROOT / "docker" / "Dockerfile"
        assert set(given) <= arguments
    assert f" AS {build['target']}\n" in DOCKERFILE
    extra = re.search(r"'\.\[(\w+)]'", DEVCONTAINER["postCreateCommand"])[1]
    assert extra in asked_for()
    volumes = {v.split(":")[0] for s in COMPOSE["services"].values() for v in s["volumes"]}
    assert volumes == set(COMPOSE["volumes"])
    assert all("/runs" in v for s in COMPOSE["services"].values() for v in s["volumes"])


def test_the_page_of_compose_is_asked_for_its_health(monkeypatch):
    page = COMPOSE["services"]["page"]
    first, *command = page["healthcheck"]["test"]
    assert (first, command[:2]) == ("CMD", ["python3", "-c"])
    asked = []

    def urlopen(address, timeout):
        asked.append(address)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    exec(command[2], {})
    (inside,) = {p.split(":")[-1] for p in page["ports"]}
    assert asked == [f"http://127.0.0.1:{inside}/health"]
    assert f"EXPOSE {inside}" in DOCKERFILE
    # By `tfinit demo` of this source.
    from tfinit.cli.demo import COMMANDS
    from tfinit.demo.limits import Limits
    from tfinit.demo.server import create_app

    assert str(COMMANDS[page["command"][0]]().port) == inside
    assert "/health" in {route.path for route in create_app(Limits(), ["0.0.0.0"]).routes}


@pytest.fixture
def entrypoint(tmp_path):
    """Runs docker/entrypoint.sh, with commands that say how they were called."""
    (tmp_path / "bin").mkdir()
    for name in ("tfinit", "python3", "bash"):
        stub = tmp_path / "bin" / name
        stub.write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@"\n')
        stub.chmod(0o755)
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("frankle2019.py", "twins.py", "_experiment.py"):
        (scripts / name).touch()

    def call(words):
        ran = subprocess.run(
            ["sh", ROOT / "docker" / "entrypoint.sh", *shlex.split(words)],
            env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "TFINIT_SCRIPTS": str(scripts)},
            capture_output=True,
            text=True,
        )
        return ran.returncode, ran.stdout.replace(str(scripts), "SCRIPTS"), ran.stderr

    return call


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        ("", "tfinit|"),
        ("--help", "tfinit|--help|"),
        ("lottery --run-dir 'a b'", "tfinit|lottery|--run-dir|a b|"),
        ("initializations --levels 3", "tfinit|initializations|--levels|3|"),
        ("frankle2019.py --quick", "python3|SCRIPTS/frankle2019.py|--quick|"),
        ("./mine.py 1 ''", "python3|./mine.py|1||"),
        ("python3 -c 'print(1)'", "python3|-c|print(1)|"),
        ("bash -c 'a; b'", "bash|-c|a; b|"),
    ],
)
def test_what_follows_docker_run(entrypoint, words, ran):
    assert entrypoint(words) == (0, ran, "")


def test_a_script_that_is_not_there_is_an_error_that_names_those_that_are(entrypoint):
    code, out, err = entrypoint("frankle.py --help")
    assert (code, out) == (2, "")
    assert "`frankle.py`" in err
    assert "There are: frankle2019.py twins.py." in err


def test_every_library_of_cuda_has_a_wheel(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import check_cuda_libraries as check

    for wheel, (_, names) in check.WHEELS.items():
        assert wheel in PINS
        assert len(set(names)) == 12
    monkeypatch.setattr(sys, "argv", ["check_cuda_libraries.py"])
    monkeypatch.setattr(check, "WHEELS", {"no-such-wheel": ("CUDA", ())})
    assert check.main() == 2


def test_a_library_that_does_not_load_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import check_cuda_libraries as check

    monkeypatch.setattr(sys, "argv", ["check_cuda_libraries.py"])
    monkeypatch.setattr(check, "TOOLS", ())
    given = ("libc.so.6", "libnosuch.so.12")
    monkeypatch.setattr(check, "WHEELS", {"numpy": ("CUDA", given)})
    assert check.main() == 1
    out = capsys.readouterr().out
    assert "libnosuch.so.12: cannot open shared object file" in out
    assert "1 of 2 are there" in out
    monkeypatch.setattr(check, "WHEELS", {"numpy": ("CUDA", given[:1])})
    assert check.main() == 0


@pytest.mark.parametrize(("checked", "code"), [(0, 0), (1, 1), (3, 0)])
def test_ci_fails_by_the_container_but_not_where_none_can_be_built(tmp_path, checked, code):
    for name, ends in (("test.sh", 0), ("check_container.sh", checked)):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / name).write_text(f"#!/bin/sh\nexit {ends}\n")
        (tmp_path / "scripts" / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    ran = subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, text=True)
    assert ran.returncode == code
    assert ("NOT checked" in ran.stdout) == (checked == 3)


def test_a_machine_that_cannot_build_one_says_so_and_leaves_nothing(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    ran = subprocess.run(
        [ROOT / "scripts" / "check_container.sh"],
        env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 3
    assert ran.stderr.endswith("there is no buildah.\n")
    assert not (tmp_path / "home").exists()

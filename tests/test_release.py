"""What a release is made of: versions that agree, metadata, workflows that call what exists."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import tfinit

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SHOWN = """
import json, setuptools
from distutils.core import run_setup
d = run_setup("setup.py", stop_after="init")
shown = d.get_version(), d.get_classifiers(), str(d.python_requires), d.metadata.project_urls
print(json.dumps([*shown, d.get_long_description()]))
"""


def setup(**environment):
    """Version, classifiers, Pythons, addresses and README of setup.py."""
    shown = subprocess.run(
        [sys.executable, "-c", SHOWN],
        **{"cwd": ROOT, "check": True, "capture_output": True, "text": True},
        env={**os.environ, **environment},
    ).stdout
    return json.loads(shown)


def test_the_version_is_one():
    version, classifiers, pythons, urls, readme = setup()
    assert version == tfinit.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## \[?{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M)
    told = {c.rpartition(" ")[2] for c in classifiers if re.search(r":: 3\.\d+$", c)}
    allowed = {f"3.{n}" for n in range(30) if Version(f"3.{n}") in SpecifierSet(pythons)}
    assert told == allowed
    assert (urls, readme) == ({}, (ROOT / "README.md").read_text(encoding="utf-8"))
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    assert {
        row["python"] for row in tests["jobs"]["tests"]["strategy"]["matrix"]["include"]
    } == told


def test_what_is_built_for_an_index_names_the_repository():
    version, *_, urls, readme = setup(TFINIT_REPOSITORY="https://example.org/us/tfinit")
    assert urls["Source"] == "https://example.org/us/tfinit"
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert all(re.match("https?:|#", link) for link in links)
    assert any(
        link.startswith(f"https://example.org/us/tfinit/raw/v{version}/docs") for link in links
    )
    assert f"https://example.org/us/tfinit/blob/v{version}/docs/rules.md" in readme


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_exists(path):
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = "\n".join(step.get("run", "") for step in steps)
    for name in re.findall(r"(?:scripts|tests|\.ci)/[\w.]+", commands):
        assert (ROOT / name).exists(), name


def test_only_the_newest_keras_may_fail():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    assert [name for name, job in jobs.items() if job.get("continue-on-error")] == ["keras-nightly"]


def test_a_newcomer_gets_versions_within_the_ranges():
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for text in metadata.requires("tfinit"):
        needed = Requirement(text)
        pin = pins.get(re.sub(r"[-_.]+", "-", needed.name).lower())
        assert pin is None or needed.specifier.contains(Version(pin), prereleases=True), text
    assert {"keras", "tensorflow", "pytest", "ruff"} <= pins.keys()


def test_the_oldest_versions_are_those_of_setup(tmp_path):
    out = tmp_path / "oldest.txt"
    script = [sys.executable, ROOT / "scripts/constraints.py", "--oldest", "--out", out]
    subprocess.run(script, check=True, capture_output=True)
    lines = out.read_text(encoding="utf-8").splitlines()
    assert {"numpy==1.26.*", "tensorflow==2.19.*", "lazy-loader==0.6.*"} <= {*lines}
    # Of what setup.py asks for on some Pythons only, this one's.
    assert ("tomli==2.*" in lines) is (sys.version_info < (3, 11))
    assert ("keras==3.13.*" in lines) is (sys.version_info >= (3, 11))

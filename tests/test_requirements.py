"""Every import is paid for: what seg/ and train/ import stands in their requirements files."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IMPORT_NAMES = {"pillow": "PIL", "scikit_image": "skimage", "scikit_learn": "sklearn", "pyyaml": "yaml"}


def listed(file: str) -> set[str]:
    """Import names of the packages a requirements file lists, its `-r` files included."""
    names: set[str] = set()
    for line in (ROOT / file).read_text("utf-8").splitlines():
        if line.startswith("-r "):
            names |= listed(line[3:].strip())
        elif match := re.match(r"[\w-]+", line):
            name = match[0].replace("-", "_").lower()
            names.add(IMPORT_NAMES.get(name, name))
    return names


def imported(*paths: str) -> set[str]:
    """Top-level names of all absolute imports under the paths, the standard library and our own left out."""
    names: set[str] = set()
    for path in paths:
        files = [ROOT / path] if path.endswith(".py") else sorted((ROOT / path).rglob("*.py"))
        for node in (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    top = {name.partition(".")[0] for name in names}
    return top - set(sys.stdlib_module_names) - {"app", "seg", "train", "tests"}


def test_running_needs_only_requirements_txt():
    comes_along = {"gradio_client", "starlette", "anyio", "httpx"}  # gradio pins the versions that fit
    optional = {"spaces"}  # Hugging Face installs it where it is needed
    optional |= {"onnxruntime", "openvino", "ai_edge_litert"}  # requirements-bench.txt, for seg/runtimes.py alone
    assert imported("app.py", "seg") - comes_along - optional <= listed("requirements.txt")


def test_training_needs_only_its_two_files():
    optional = {"tomllib", "ai_edge_litert"}  # in the standard library from 3.11; only for a teacher in TFLite form
    assert imported("train") - optional <= listed("requirements.txt") | listed("requirements-train.txt")


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-train.txt"])
def test_versions_are_bounded(file):
    lines = [line.partition("#")[0].partition(";")[0].strip() for line in (ROOT / file).read_text("utf-8").splitlines()]
    unbounded = [line for line in lines if line and not re.search(r">=.+,<|==", line)]
    assert not unbounded, f"{file}: give {', '.join(unbounded)} a range known to work"

"""The arrows of the architecture: who may import whom, read from the source of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(file for folder in ("seg", "train") for file in (ROOT / folder).rglob("*.py"))
OURS = ("seg", "train", "app")

# Which of our own modules and which libraries a file may import. The standard library is always allowed.
ALLOWED = {
    "seg/classes.py": {"numpy"},
    "seg/image.py": {"numpy", "PIL"},
    "seg/labels.py": {"seg.classes", "seg.image", "numpy", "PIL"},
    "seg/coco.py": {"seg.classes", "numpy"},
    "seg/metrics.py": {"seg.classes", "numpy", "PIL"},
    "seg/render.py": {"seg.classes", "numpy", "PIL", "matplotlib"},
    "seg/explain/crf.py": {"numpy", "torch"},
    "seg/transforms.py": {"numpy", "PIL", "torch"},
    "seg/card.py": {"seg.classes", "seg.transforms"},
    "seg/checkpoint.py": {"seg.card", "seg.models", "torch", "safetensors"},
    "seg/predictor.py": {
        "seg.card",
        "seg.checkpoint",
        "seg.classes",
        "seg.explain.crf",
        "seg.image",
        "seg.models",
        "seg.transforms",
        "numpy",
        "PIL",
        "torch",
    },
}
LIBRARIES = {
    "numpy",
    "PIL",
    "torch",
    "torchvision",
    "timm",
    "gradio",
    "matplotlib",
    "safetensors",
    "accelerate",
    "tqdm",
}


def imports_of(file: Path) -> set[str]:
    """Full names of the modules a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: write the full name, relative imports hide the arrow"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def is_under(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_there_are_files_to_check() -> None:
    assert {"seg/image.py", "seg/models/fcn.py", "train/loop.py"} <= set(map(relative, FILES))


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_no_arrow_points_the_wrong_way(file: Path) -> None:
    name, imported = relative(file), imports_of(file)
    forbidden: list[str] = []
    if name.startswith("seg/"):
        forbidden += ["train", "app"]
        if not name.startswith("seg/ui/"):
            forbidden += ["gradio", "seg.ui"]
        if name.startswith("seg/models/"):
            forbidden += [f"seg.{above}" for above in ("card", "checkpoint", "predictor", "image", "render", "explain")]
    if name.startswith("train/"):
        forbidden += ["seg.ui", "app", "gradio"]
    wrong = sorted(module for module in imported for parent in forbidden if is_under(module, parent))
    assert not wrong, f"{name} must not import {', '.join(wrong)}"


@pytest.mark.parametrize("name", ALLOWED)
def test_core_imports_only_what_the_architecture_names(name: str) -> None:
    ours_or_library = {m for m in imports_of(ROOT / name) if m.split(".")[0] in LIBRARIES | set(OURS)}
    wrong = {m for m in ours_or_library if m != "seg" and not any(is_under(m, parent) for parent in ALLOWED[name])}
    assert not wrong, f"{name} may import {sorted(ALLOWED[name])}, not {sorted(wrong)}"


def test_only_the_image_module_opens_pictures() -> None:
    openers = [
        f"{relative(file)}:{node.lineno}"
        for file in FILES
        if relative(file).startswith("seg/") and relative(file) != "seg/image.py"
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open")
    ]
    assert not openers, f"open uploads with seg.image.read_image, not here: {openers}"

"""`python -m seg` as a person runs it, on a small untrained network in a temporary folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg.__main__ import main
from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.classes import VOC
from seg.models import build_model
from seg.predictor import load_predictor
from seg.transforms import Preprocess

REPOSITORY = Path(__file__).resolve().parent.parent
Run = Callable[..., "Done"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint "clitest"."""
    folder = tmp_path_factory.mktemp("checkpoints")
    options = {"backbone": "test_efficientnet", "fc_channels": 16}
    torch.manual_seed(0)
    card = ModelCard(
        name="clitest",
        title="Test of the command line",
        model="fcn8s",
        model_options=options,
        classes=VOC,
        preprocess=Preprocess(short_side=64, long_side=128),
        weights={},
        parameters=0,
        macs=0,
        macs_input=(64, 64),
        licence="MIT",
        metrics={"miou": 0.125},
    )
    save_checkpoint(build_model("fcn8s", num_classes=21, **options), card, folder)
    return folder


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run `python -m seg ...` without the seconds that a new process takes to import PyTorch."""

    def run(*arguments: object, checkpoints: Path = folder) -> Done:
        monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(checkpoints))
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def run_process(folder: Path) -> Run:
    """Run `python -m seg ...` in its own process; a traceback never reaches the user, whatever happens."""

    def run(*arguments: object) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "seg", *map(str, arguments)],
            cwd=REPOSITORY,
            env={**os.environ, "SEGLAB_CHECKPOINTS": str(folder), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def save_photo(path: Path, seed: int, size: tuple[int, int] = (61, 47)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels


def error_lines(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_models_lists_what_the_card_says(run: Run, folder: Path):
    done = run("models")
    assert done.code == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert re.split(r"\s{2,}", header) == ["name", "title", "mIoU", "parameters", "MACs", "file"]
    row = next(row for row in rows if row.startswith("clitest "))
    megabytes = (folder / "clitest.safetensors").stat().st_size / 1e6
    name, title, miou, parameters, macs, size = re.split(r"\s{2,}", row)
    assert (name, title, miou) == ("clitest", "Test of the command line", "0.125")
    assert size == f"{megabytes:.1f} MB"
    assert parameters.endswith(" M")
    assert macs.endswith(" G at 64 x 64")


def test_models_goes_on_after_a_damaged_card(run: Run, folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.json").write_text("{")
    done = run("models", checkpoints=tmp_path)
    assert done.code == 1
    assert "clitest" in done.stdout
    assert len(error_lines(done)) == 1
    assert "broken.json" in done.stderr


def test_predict_goes_on_after_bad_files_and_keeps_equal_stems_apart(run_process: Run, folder: Path, tmp_path: Path):
    photos, out = tmp_path / "photos", tmp_path / "deep" / "out"
    first = save_photo(photos / "cat.png", 1)
    second = save_photo(photos / "below" / "cat.JPG", 2, size=(50, 80))  # a PNG in truth: bytes count, not the name
    (photos / "below" / "broken.jpg").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("not looked at")
    done = run_process(
        "predict", photos, photos / "cat.png", tmp_path / "nowhere.png", "--model", "clitest", "--out", out
    )

    assert done.code == 1
    errors = error_lines(done)
    assert len(errors) == 2
    assert any(line.startswith(f"error: {photos / 'below' / 'broken.jpg'}: ") for line in errors)
    assert any(line.startswith(f"error: {tmp_path / 'nowhere.png'}: ") for line in errors)

    stems = ("cat", "cat_2")
    kinds = ("labels", "overlay", "figure")
    assert {file.name for file in out.iterdir()} == {f"{stem}_clitest_{kind}.png" for stem in stems for kind in kinds}
    predictor = load_predictor(folder / "clitest.json")
    answers = {pixels.shape: predictor.predict(pixels) for pixels in (first, second)}
    for stem in stems:
        labels = Image.open(out / f"{stem}_clitest_labels.png")
        assert labels.mode == "P"
        assert labels.getpalette()[:63] == VOC.colormap[:21].ravel().tolist()
        expected = answers[(labels.height, labels.width, 3)]
        assert np.mean(np.asarray(labels) == expected.label_map) > 0.999  # another process may round otherwise
        assert Image.open(out / f"{stem}_clitest_overlay.png").size == labels.size
        assert Image.open(out / f"{stem}_clitest_figure.png").width == 1500
        assert next(iter(expected.class_areas)) in done.stdout


def test_predict_of_a_folder_passes_over_its_own_results(run: Run, tmp_path: Path):
    save_photo(tmp_path / "dog.png", 3)
    for _ in range(2):
        done = run("predict", tmp_path, "--model", "clitest", "--out", tmp_path)
        assert done.code == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 4


def test_predict_takes_the_path_of_a_card(run: Run, folder: Path, tmp_path: Path):
    save_photo(tmp_path / "dog.png", 3)
    done = run("predict", tmp_path / "dog.png", "--model", folder / "clitest.json", "--out", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert "dog.png (61 x 47)" in done.stdout
    assert re.search(r"clitest: \w+ \d+\.\d %", done.stdout)


def test_predict_says_which_models_there_are(run_process: Run, tmp_path: Path):
    done = run_process("predict", save_and_path(tmp_path), "--model", "unnet", "--out", tmp_path / "out")
    assert done.code == 2
    assert error_lines(done) == [done.stderr.strip()]
    assert "unknown checkpoint 'unnet'; known: " in done.stderr
    assert "clitest" in done.stderr
    assert not (tmp_path / "out").exists()


def test_predict_says_that_a_folder_has_no_photo(run: Run, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run("predict", empty, "--model", "clitest", "--out", tmp_path / "out")
    assert done.code == 1
    assert error_lines(done) == [done.stderr.strip()]
    assert "no photo in this folder" in done.stderr


def test_predict_says_that_it_cannot_write(run: Run, tmp_path: Path):
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    done = run("predict", save_and_path(tmp_path), "--model", "clitest", "--out", taken)
    assert done.code == 2
    assert error_lines(done) == [done.stderr.strip()]
    assert str(taken) in done.stderr


def test_predict_refuses_a_damaged_checkpoint(run: Run, folder: Path, tmp_path: Path):
    (tmp_path / "clitest.json").write_bytes((folder / "clitest.json").read_bytes())
    (tmp_path / "clitest.safetensors").write_bytes((folder / "clitest.safetensors").read_bytes()[:-7])
    done = run(
        "predict", save_and_path(tmp_path), "--model", "clitest", "--out", tmp_path / "out", checkpoints=tmp_path
    )
    assert done.code == 2
    assert "damaged" in error_lines(done)[0]


def save_and_path(folder: Path) -> Path:
    save_photo(folder / "photo.png", 4)
    return folder / "photo.png"


def test_bench_prints_both_tables(run_process: Run):
    done = run_process("bench", "--runs", 1, "--size", 64, "--threads", 1)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"machine: .+ cores; 1 threads; PyTorch \d", lines[0])
    together = "all checkpoints together, as predict runs them"
    for name in (
        "clitest, as predict runs it",
        "clitest, eager",
        together,
        "torchvision lraspp_mobilenet_v3_large, eager",
    ):
        row = next(line for line in lines if line.startswith(name))
        median, least, p95, ratio = map(float, row.removeprefix(name).split())
        assert median == least == p95 > 0
        assert ratio > 0
    references = [line for line in lines if line.startswith("torchvision deeplabv3_mobilenet_v3_large, eager")]
    assert [line.split()[-1] for line in references] == ["1.00", "1.00"]
    assert "693 x 520" in references[1]
    for start in (r"clitest +\d+ x", "all of these"):
        row = next(line for line in lines if re.match(start, line))
        whole, network, rest, ratio, network_ratio = map(float, row.split()[-5:])
        assert whole == pytest.approx(network + rest, abs=0.2)
        reference, network_reference = map(float, references[1].split()[-5:-3])
        assert ratio == pytest.approx(whole / reference, abs=0.02)
        assert network_ratio == pytest.approx(network / network_reference, abs=0.02)


@pytest.mark.parametrize("arguments", [["bench", "--size", "5"], ["bench", "--runs", "few"], [], ["predict"]])
def test_wrong_arguments_are_explained(run: Run, arguments: list[str]):
    done = run(*arguments)
    assert done.code == 2
    assert "error: " in done.stderr

"""Other runtimes answer as PyTorch does, int8 nearly so, and the report says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg import load_predictor
from seg.predictor import Predictor
from seg.runtimes import FOLDED, export, onnx_runtime, quantise, report, voc_pairs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return load_predictor(tiny_checkpoint / "tiny.json")


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export(predictor.network, file)
    return file


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (256, 320)])
def test_the_exported_network_takes_every_size_and_answers_as_pytorch(predictor, exported, size):
    x = torch.rand(1, 3, *size)
    found = onnx_runtime(exported, threads=1)(x)
    torch.testing.assert_close(found, predictor.logits(x), rtol=1e-3, atol=1e-3)


def test_int8_is_smaller_and_mostly_of_the_same_opinion(predictor, exported, photo, tmp_path):
    x = predictor.card.preprocess.apply(photo)[0]
    file = tmp_path / "int8.onnx"
    quantise(exported, file, [x])
    assert file.stat().st_size < exported.stat().st_size
    expected, found = predictor.logits(x), onnx_runtime(file, threads=1)(x)
    assert not torch.equal(found, expected)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.8


def test_report_has_a_row_per_way(predictor, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("seg.runtimes.load_checkpoint", lambda _: (predictor.network, predictor.card))
    label = tmp_path / "label.png"
    Image.fromarray(predictor.predict(photo).label_map).save(label)
    photo.save(tmp_path / "photo.png")
    table = report({"tiny": predictor}, [photo], runs=2, scored=[(tmp_path / "photo.png", label)]).splitlines()
    rows = {way: next(line for line in table if f"tiny        {way}  " in line) for way in (FOLDED, "ONNX Runtime")}
    for row in rows.values():
        assert "100.00 %" in row
        assert row.endswith("1.0000")  # its own labels are the truth here
    assert any("int8" in line for line in table)


def test_voc_pairs_are_those_that_are_there(voc: Path):
    pairs = voc_pairs(voc, 10)
    assert [photo.stem for photo, _ in pairs] == ["picture4", "picture5"]
    assert all(np.asarray(Image.open(label)).shape == (70, 90) for _, label in pairs)
    assert len(voc_pairs(voc, 1)) == 1
    with pytest.raises(FileNotFoundError):
        voc_pairs(voc / "nowhere", 1)

"""Other runtimes answer as PyTorch does, int8 nearly so, and the report says it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg import load_predictor
from seg.predictor import Predictor
from seg.runtimes import FOLDED, export, onnx_runtime, pictures, quantise, report, voc_pairs

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
    table = report({"tiny": predictor}, [photo], runs=2, labels=[label], calibration=[photo, photo]).splitlines()
    rows = {way: next(line for line in table if f"tiny        {way}  " in line) for way in (FOLDED, "ONNX Runtime")}
    for row in rows.values():
        assert "100.00 %" in row
        assert row.endswith("1.0000")  # its own labels are the truth here
    assert any("ONNX Runtime int8" in line for line in table)
    assert table[-1] == "labels compared on 1 photos, int8 calibrated on 2 others"


def test_voc_pairs_are_those_that_are_there(voc: Path):
    pairs = voc_pairs(voc, "val", 10)
    assert [photo.stem for photo, _ in pairs] == ["picture4", "picture5"]
    assert all(np.asarray(Image.open(label)).shape == (70, 90) for _, label in pairs)
    assert len(voc_pairs(voc, "val", 1)) == 1
    with pytest.raises(FileNotFoundError):
        voc_pairs(voc / "nowhere", "val", 1)


def test_int8_is_calibrated_on_other_photos_than_it_is_compared_on(voc: Path, tmp_path: Path):
    lists = Path(shutil.copytree(voc, tmp_path / "VOC2012")) / "ImageSets" / "Segmentation"
    (lists / "trainaug.txt").rename(lists / "train.txt")
    photos, labels, calibration = pictures(tmp_path / "VOC2012", 2)
    assert [label.stem for label in labels] == ["picture4", "picture5"]
    assert calibration is not None
    assert (len(photos), len(calibration)) == (2, 4)
    assert not {photo.tobytes() for photo in photos} & {photo.tobytes() for photo in calibration}
    assert pictures(None, 2)[1:] == ([], None)

"""Checkpoints and cards: what is saved loads, what is damaged is refused, and the shipped cards tell the truth."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import packaged_photo, tiny_card, tiny_model

from seg.card import CardError, ModelCard, load_card, save_card
from seg.checkpoint import (
    CHECKPOINTS,
    CheckpointError,
    card_path,
    count_macs,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from seg.models import build_model
from seg.predictor import load_predictor
from train.config import load_recipe

ROOT = CHECKPOINTS.parent


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "damaged"))


def change_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    file = folder / "tiny.json"
    values = json.loads(file.read_text("utf-8"))
    change(values)
    file.write_text(json.dumps(values), "utf-8")
    return file


# Round trip


def test_what_is_saved_is_loaded(tiny_checkpoint: Path) -> None:
    model, card = load_checkpoint(tiny_checkpoint / "tiny.json")
    assert not model.training
    saved = tiny_model().state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, saved[name].half().to(tensor) if tensor.ndim > 1 else saved[name])
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.macs == count_macs(model, (64, 64)) > 1_000_000


def test_kernels_are_stored_in_half_precision_and_vectors_are_not(tiny_checkpoint: Path) -> None:
    state = safetensors.torch.load_file(tiny_checkpoint / "tiny.safetensors")
    assert {tensor.dtype for tensor in state.values() if tensor.ndim > 1} == {torch.float16}
    assert {tensor.dtype for tensor in state.values() if tensor.ndim == 1} == {torch.float32}
    assert (tiny_checkpoint / "tiny.safetensors").stat().st_size < 2.5 * sum(t.numel() for t in state.values())


def test_the_card_survives_its_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    card = replace(
        load_card(tiny_checkpoint / "tiny.json"), metrics={"miou": 0.5}, known_failures=("chairs", "椅子"), name="other"
    )
    save_card(card, tmp_path / "other.json")
    assert load_card(tmp_path / "other.json") == card
    assert "椅子" in (tmp_path / "other.json").read_text("utf-8")


def test_saving_leaves_two_files_and_the_network_as_it_was(tmp_path: Path) -> None:
    model = tiny_model().train()
    save_checkpoint(model, tiny_card(), tmp_path / "new" / "folder")
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == ["tiny.json", "tiny.safetensors"]
    assert model.training


def test_a_failed_save_leaves_the_old_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full_disk(self: Path, data: bytes) -> int:
        self.open("wb").write(data[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tiny_model(seed=1), tiny_card(), folder)
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_no_numbers_are_not_saved(value: float, tmp_path: Path) -> None:
    model = tiny_model()
    model.score8.weight.data[0, 0] = value
    with pytest.raises(CheckpointError, match=r"'score8.weight' of 'tiny' has weights that are no finite float16"):
        save_checkpoint(model, tiny_card(), tmp_path)
    assert not list(tmp_path.iterdir())


# Found by name


def test_extra_folders_are_searched(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEGLAB_CHECKPOINTS", raising=False)
    assert "tiny" not in list_checkpoints()
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", f"{tmp_path}:{tmp_path / 'nowhere'}:{tiny_checkpoint}")
    assert list_checkpoints()[-1] == "tiny"
    assert card_path("tiny") == tiny_checkpoint / "tiny.json"


def test_the_papers_networks_come_first_in_the_papers_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg.checkpoint.CHECKPOINTS", tmp_path)
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", "")
    for name in ("alpha", "deeplabv3", "unet", "fcn8s", "zeta"):
        (tmp_path / f"{name}.json").touch()
    assert list_checkpoints() == ["fcn8s", "unet", "deeplabv3", "alpha", "zeta"]


def test_unknown_name_is_named_with_the_known_ones(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(tiny_checkpoint))
    with pytest.raises(CheckpointError, match=r"unknown checkpoint 'unnet'; known: .*tiny"):
        load_checkpoint("unnet")


@pytest.mark.parametrize("name", ["../tiny", "x/../tiny", "", ".", "..", "/etc/passwd"])
def test_names_do_not_lead_out_of_the_folders(
    name: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = tiny_checkpoint / "inner"
    inner.mkdir(exist_ok=True)
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(inner))
    with pytest.raises(CheckpointError, match=f"unknown checkpoint '{name}'; known:"):
        load_checkpoint(name)


@pytest.mark.parametrize("name", ["../tiny", "a/b", "a\\b", "", ".."])
def test_cards_cannot_be_called_by_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="must be a plain file name"):
        tiny_card(name=name)


def test_weights_are_only_read_from_beside_the_card(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "tiny.safetensors").rename(folder / "deep" / "tiny.safetensors")
    card = change_card(folder, lambda values: values["weights"].update(file="deep/tiny.safetensors"))
    with pytest.raises(CheckpointError, match="no weights"):
        load_checkpoint(card)


# Damage: nothing falls back to random weights


def test_missing_weights_stop_the_load(folder: Path) -> None:
    (folder / "tiny.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint 'tiny': no weights .*tiny\.safetensors.*git checkout"):
        load_checkpoint(folder / "tiny.json")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "lfs"])
def test_damaged_weights_stop_the_load(folder: Path, damage: str) -> None:
    file = folder / "tiny.safetensors"
    data = file.read_bytes()
    broken = {
        "cut": data[:-100],
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "empty": b"",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    }[damage]
    file.write_bytes(broken)
    with pytest.raises(CheckpointError, match=rf"tiny.safetensors \({len(broken)} bytes\) is not the file .*damaged"):
        load_checkpoint(folder / "tiny.json")


def test_a_file_that_never_was_weights_stops_the_load(folder: Path) -> None:
    (folder / "tiny.safetensors").write_bytes(b"hello")
    card = change_card(folder, lambda v: v["weights"].update(sha256=hashlib.sha256(b"hello").hexdigest()))
    with pytest.raises(CheckpointError, match="'tiny' does not fit network 'fcn8s'"):
        load_checkpoint(card)


def test_missing_card_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no card .*ghost\.json; copy the checkpoint's \.json beside"):
        load_checkpoint(tmp_path / "ghost.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"format": 99}', '{"format": 1}', "\udcff"])
def test_a_file_that_is_no_card_stops_the_load(folder: Path, text: str) -> None:
    (folder / "tiny.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"tiny\.json (cannot be read|is not a model card|lacks name)"):
        load_checkpoint(folder / "tiny.json")


@pytest.mark.parametrize("key", ["name", "model", "classes", "preprocess", "weights", "parameters", "macs", "licence"])
def test_a_missing_entry_is_named(folder: Path, key: str) -> None:
    card = change_card(folder, lambda values: values.pop(key))
    with pytest.raises(CardError, match=rf"tiny\.json lacks {key}"):
        load_card(card)


@pytest.mark.parametrize(("key", "value"), [
    ("parameters", "many"),
    ("parameters", None),
    ("macs_input", [512]),
    ("weights", "tiny.safetensors"),
    ("weights", {"file": "tiny.safetensors"}),
    ("classes", {"name": "voc"}),
    ("classes", ["cat", "dog"]),
    ("classes", {"name": "one", "names": ["cat"]}),
    ("preprocess", {"short_side": "big"}),
    ("preprocess", {"short_side": 8}),
    ("preprocess", {"shortside": 352}),
    ("preprocess", {"std": [0, 0, 0]}),
    ("model_options", 5),
    ("metrics", [0.6]),
])  # fmt: skip
def test_a_wrong_entry_stops_the_load(folder: Path, key: str, value: object) -> None:
    card = change_card(folder, lambda values: values.update({key: value}))
    with pytest.raises(CheckpointError, match=r"tiny\.json has a wrong entry .*; get the file again"):
        load_checkpoint(card)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("model", "fcn9s", "unknown network 'fcn9s'; known: "),
    ("model", "unet", "has no option 'fc_channels'"),
    ("model_options", {"backbone": "test_efficientnet"}, "size mismatch"),
    ("model_options", {"backbone": "hf-hub:someone/network"}, "unknown backbone 'hf-hub:someone/network'"),
    ("model_options", {"fc_channels": "many"}, "does not fit network"),
    ("model_options", {"num_classes": 21}, "does not fit network"),
    ("classes", {"name": "two", "names": ["nothing", "cat"]}, "size mismatch"),
])  # fmt: skip
def test_weights_of_another_network_stop_the_load(folder: Path, key: str, value: object, message: str) -> None:
    card = change_card(folder, lambda values: values.update({key: value}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(card)


def test_a_renamed_card_is_refused(folder: Path) -> None:
    (folder / "tiny.json").rename(folder / "mine.json")
    with pytest.raises(CheckpointError, match=r"mine\.json is the card of 'tiny'; name the file tiny\.json"):
        load_checkpoint(folder / "mine.json")


def test_a_wrong_hash_of_any_kind_stops_the_load(folder: Path) -> None:
    for value in (None, 5, "", "0" * 64):
        card = change_card(folder, lambda values, value=value: values["weights"].update(sha256=value))  # type: ignore[misc]
        with pytest.raises(CheckpointError, match="is not the file its card describes"):
            load_checkpoint(card)


# The checkpoints of this repository

SHIPPED = [file.stem for file in sorted(CHECKPOINTS.glob("*.json"))]
shipped = pytest.mark.parametrize("name", SHIPPED)


def shipped_card(name: str) -> ModelCard:
    return load_card(CHECKPOINTS / f"{name}.json")


def test_the_three_networks_are_shipped() -> None:
    assert {"fcn8s", "unet", "deeplabv3"} <= set(SHIPPED)


@shipped
def test_shipped_weights_match_their_card(name: str) -> None:
    card = shipped_card(name)
    data = (CHECKPOINTS / f"{name}.safetensors").read_bytes()
    assert card.weights["file"] == f"{name}.safetensors"
    assert card.weights["sha256"] == hashlib.sha256(data).hexdigest()
    assert card.weights["bytes"] == len(data) <= 17_000_000


@shipped
def test_shipped_facts_are_recounted(name: str) -> None:
    model, card = load_checkpoint(name)
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.macs == count_macs(model, card.macs_input)


@shipped
def test_the_recipe_builds_the_shipped_network(name: str) -> None:
    model, card = load_checkpoint(name)
    recipe = card.training["recipe"]
    assert recipe["name"] == name
    in_repository = load_recipe(ROOT / "train" / "recipes" / f"{name}.toml")
    for model_name, options in (
        (recipe["model"], recipe["model_options"]),
        (in_repository.model, in_repository.model_options),
    ):
        # Other atrous rates or another output stride would have the same shapes.
        assert (model_name, options) == (card.model, card.model_options)
    rebuilt = build_model(card.model, num_classes=len(card.classes), **card.model_options)
    shapes = {key: tensor.shape for key, tensor in rebuilt.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in model.state_dict().items()}


@shipped
def test_shipped_cards_tell_where_the_weights_come_from(name: str) -> None:
    card = shipped_card(name)
    assert {"data", "images_per_class", "recipe", "command", "commit", "seed", "encoder_init"} <= set(card.training)
    assert list(card.training["images_per_class"]) == list(card.classes.names)
    assert card.training["images_per_class"]["person"] == 2009
    assert card.licence
    assert card.intended_use
    assert {"data", "images", "miou"} <= set(card.metrics)
    assert 0.5 < card.metrics["miou"] < 1
    assert set(card.metrics["iou"]) == set(card.classes.names)
    present = [iou for iou in card.metrics["iou"].values() if iou is not None]
    assert card.metrics["miou"] == pytest.approx(sum(present) / len(present), abs=2e-4)


@shipped
@pytest.mark.parametrize(
    ("file", "expected"), [("chelsea.png", "cat"), ("astronaut.png", "person"), ("motorcycle_left.png", "motorbike")]
)
def test_shipped_networks_know_the_packaged_photographs(name: str, file: str, expected: str) -> None:
    areas = load_predictor(name).predict(packaged_photo(file)).class_areas
    assert areas.get(expected, 0) > 0.1, areas
    things = {class_name: area for class_name, area in areas.items() if class_name != "background"}
    assert max(things, key=lambda class_name: things[class_name]) == expected

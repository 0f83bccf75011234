"""Averaged trainings: the mean of the weights, a card that tells of all, only like with like."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_card, tiny_model

from seg import load_predictor
from seg.card import load_card
from seg.checkpoint import load_checkpoint, save_checkpoint
from train.__main__ import main
from train.average import average
from train.config import Recipe


@pytest.fixture
def trainings(tmp_path: Path) -> list[Path]:
    """Cards of three trainings of one tiny network, in three folders."""
    cards = []
    for i in range(3):
        model = tiny_model(seed=i)
        card = replace(tiny_card(), training={"command": f"fit {i}", "seed": i, "pictures_seen": 10 * i, "curves": []})
        save_checkpoint(model, replace(card, metrics={"miou": 0.5}), tmp_path / str(i))
        cards.append(tmp_path / str(i) / "tiny.json")
    return cards


def test_every_weight_is_the_mean(trainings: list[Path], tmp_path: Path) -> None:
    average(trainings, tmp_path / "mean")
    states = [load_checkpoint(card)[0].state_dict() for card in trainings]
    assert not torch.equal(states[0]["score8.weight"], states[1]["score8.weight"])
    for name, found in load_checkpoint(tmp_path / "mean" / "tiny.json")[0].state_dict().items():
        expected = torch.stack([state[name].float() for state in states]).mean(dim=0)
        torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-4)


def test_the_card_tells_what_was_averaged_and_claims_no_score(trainings: list[Path], tmp_path: Path) -> None:
    first = average(trainings[:2], tmp_path / "first")
    card = average([tmp_path / "first" / "tiny.json", trainings[2]], tmp_path / "second")
    assert card.metrics == {}
    assert card.training["command"] == "fit 2"
    one, other = card.training["average_of"]
    assert one["sha256"] == first.weights["sha256"]
    assert other["sha256"] == load_card(trainings[2]).weights["sha256"]
    assert [part["command"] for part in one["average_of"]] == ["fit 0", "fit 1"]
    assert (other["seed"], other["pictures_seen"]) == (2, 20)
    assert load_predictor(tmp_path / "second" / "tiny.json").card == card


def test_what_cannot_be_averaged_is_refused(trainings: list[Path], tmp_path: Path) -> None:
    model, card = load_checkpoint(trainings[0])
    other = replace(card, preprocess=replace(card.preprocess, short_side=2 * card.preprocess.short_side))
    save_checkpoint(model, other, tmp_path / "other")
    with pytest.raises(ValueError, match="differ in preprocess"):
        average([tmp_path / "other" / "tiny.json", trainings[1]], tmp_path / "mean")
    with pytest.raises(ValueError, match="two checkpoints or more"):
        average(trainings[:1], tmp_path / "mean")
    with pytest.raises(ValueError, match="1 batch or more, got 0"):
        average(trainings, tmp_path / "mean", batches=0)
    before = trainings[1].read_bytes()
    with pytest.raises(FileExistsError, match="has a checkpoint tiny already"):
        average(trainings[:2], trainings[1].parent)
    assert trainings[1].read_bytes() == before
    assert not (tmp_path / "mean").exists()


def test_average_on_the_command_line(
    trainings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "average", *map(str, trainings), "--out", str(tmp_path / "mean")])
    main()
    assert "the average of 3; not scored yet" in capsys.readouterr().out
    assert load_predictor(tmp_path / "mean" / "tiny.json").card.name == "tiny"


def test_batchnorm_is_measured_anew_on_training_pictures(trainings: list[Path], recipe: Recipe, tmp_path: Path) -> None:
    plain = average(trainings, tmp_path / "plain")
    card = average(trainings, tmp_path / "measured", recipe=recipe, batches=3)
    assert card.training["batchnorm"] == {"pictures": 6, "seed": recipe.seed}
    assert "batchnorm" not in plain.training
    before, after = (
        load_checkpoint(tmp_path / folder / "tiny.json")[0].state_dict() for folder in ("plain", "measured")
    )
    for name in before:
        measured = "running" in name or name.endswith("num_batches_tracked")
        assert torch.equal(before[name], after[name]) != measured, name

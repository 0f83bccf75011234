"""Runs of the trainer on drawn pictures: what they leave behind, killed and resumed, alone and in two processes."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from conftest import TINY_BACKBONE, tiny_card, tiny_model
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train.loop
from seg.checkpoint import load_checkpoint, save_checkpoint
from seg.classes import IGNORE_INDEX
from seg.models import build_model
from train import environment
from train.__main__ import _launcher
from train.config import Recipe, load_recipe, to_toml, tomllib, with_backbone
from train.encoder import encoder_of, init_network
from train.environment import resolve_precision
from train.log import Row, RunLog, read_log, thinned
from train.loop import fit, slices
from train.losses import cross_entropy_sums, segmentation_loss
from train.optimise import schedule_factor, set_learning_rates
from train.state import Stopped, StopSignals, new_run, outlive_signals

ROOT = Path(__file__).resolve().parent.parent
SEVERAL_STEPS = {"save_minutes": 0.0, "schedule": "onecycle", "aux_layers": ["fc"], "eval_every": 3, "eval_images": 1}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "tiny.safetensors")


def log_without_times(folder: Path) -> list[Row]:
    return [replace(row, images_per_second=0.0) for row in read_log(folder / "log.csv")]


def assert_same_run(one: Path, other: Path) -> None:
    """Same weights as far as half precision on disk tells, and the same log."""
    ours, theirs = weights_of(one), weights_of(other)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    assert log_without_times(one) == [
        replace(row, loss=pytest.approx(row.loss, rel=1e-4), miou=pytest.approx(row.miou, abs=1e-3))
        for row in log_without_times(other)
    ]


# What a run leaves


def test_a_run_leaves_a_checkpoint_that_loads(recipe: Recipe, tmp_path: Path) -> None:
    card = fit(replace(recipe, eval_every=3, eval_images=2), tmp_path, resume=False, command="python -m train fit x")
    model, loaded = load_checkpoint(tmp_path / "tiny.json")
    assert loaded == card
    assert [file.name for file in tmp_path.glob("*.json")] == ["tiny.json"], "every .json here counts as a checkpoint"
    assert loaded.training["command"] == "python -m train fit x"
    assert loaded.training["pictures_seen"] == 12
    shown = {name: count for name, count in loaded.training["images_per_class"].items() if count}
    assert shown == {"background": 4, "aeroplane": 2, "bicycle": 1, "bird": 1}, "its skew, of the four of trainaug"
    assert loaded.training["recipe"]["steps"] == 6
    assert loaded.training["init"] == {}
    assert loaded.training["environment"]["mixed_precision"] == "no"
    assert loaded.training["environment"]["torch"] == torch.__version__
    fresh = build_model("fcn8s", num_classes=21, **recipe.model_options)
    assert not torch.allclose(model.score8.weight, fresh.score8.weight)
    assert not list(tmp_path.rglob("*.part"))


def test_a_run_leaves_its_recipe_machine_log_and_curves(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, eval_every=3, eval_images=2)
    fit(recipe, tmp_path, resume=False, command="python -m train fit x")
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    (session,) = tomllib.loads((tmp_path / "sessions.toml").read_text("utf-8"))["session"]
    assert session["command"] == "python -m train fit x"
    assert {"commit", "seed", "python", "torch", "torchvision", "timm", "accelerate", "cpu", "threads"} <= set(session)
    rows = read_log(tmp_path / "log.csv")
    assert [row.step for row in rows] == [3, 6]
    assert all(0 <= row.miou <= 1 for row in rows)  # type: ignore[operator]
    assert all(row.loss > 0 and row.images_per_second > 0 and row.encoder_lr == row.head_lr for row in rows)
    with Image.open(tmp_path / "curves.png") as curves:
        assert min(curves.size) > 400
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("miou")] == [3, 6]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row.loss for row in rows], rel=1e-4)


def test_the_newest_and_the_best_checkpoint_are_there_before_the_end(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.2, 0.4, 0.3])

    class Scored:
        @property
        def miou(self) -> float:
            return next(scores)

    monkeypatch.setattr("train.recorder.evaluate", lambda *_: Scored())
    recipe = replace(recipe, eval_every=2, save_minutes=0.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 5, power_cut)  # after the scores of steps 2 and 4
        with pytest.raises(PowerCut):
            fit(recipe, tmp_path, resume=False, command="")
    assert load_checkpoint(tmp_path / "tiny.json")[1].training["pictures_seen"] == 8
    fit(recipe, tmp_path, resume=True, command="")
    assert load_checkpoint(tmp_path / "tiny.json")[1].training["pictures_seen"] == 12
    assert load_checkpoint(tmp_path / "best" / "tiny.json")[1].training["pictures_seen"] == 8


def test_training_learns(recipe: Recipe, tmp_path: Path) -> None:
    fit(replace(recipe, steps=40, ema_decay=0.5, head_lr=5e-2), tmp_path, resume=False, command="")
    losses = [row.loss for row in read_log(tmp_path / "log.csv")]
    assert losses[-1] < 0.6 * losses[0]


def test_what_is_written_as_toml_is_read_back() -> None:
    odd = {"a b": 'quote " back \\ tab \t del \x7f 中', "f": 1e-05, "inf": math.inf, "n": -3, "yes": True, "none": []}
    table = {**odd, "inside": {**odd, "list": [1, 2.5, "x", [1]]}}
    assert tomllib.loads(to_toml(table)) == table


def test_rows_after_the_resumed_step_and_half_rows_are_cut_off(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    for step in (20, 40, 60):
        log.write(Row(step, 1.0, 5.0, 0.1, 0.2, 0.5 if step == 40 else None))
    log.close()
    with log.file.open("a") as file:
        file.write("80,1.0,5.0,0.1,0.2,0.")
    assert [row.step for row in read_log(log.file)] == [20, 40, 60]
    again = RunLog(tmp_path, step=45)
    again.close()
    assert (again.best_miou(), again.last_miou()) == (0.5, 0.5)
    assert log.file.read_text().splitlines()[1:] == ["20,1,5,0.1,0.2,", "40,1,5,0.1,0.2,0.5"]


# Stopped and resumed


class PowerCut(Exception):
    """Nothing in the trainer knows it."""


def power_cut() -> None:
    raise PowerCut


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, end: Callable[[], None]) -> None:
    """Call `end` in the middle of step `step`, the first being 0."""
    calls = []

    def sums(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == step + 1:
            end()
        return cross_entropy_sums(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(train.loop, "cross_entropy_sums", sums)


def test_a_crashed_run_goes_on_as_if_nothing_had_happened(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, **SEVERAL_STEPS)
    fit(recipe, tmp_path / "whole", resume=False, command="")
    with monkeypatch.context() as patch:
        stop_at(patch, 3, power_cut)
        with pytest.raises(PowerCut):
            fit(recipe, tmp_path / "killed", resume=False, command="")
    assert torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["step"] == 3
    torch.rand(7)
    fit(recipe, tmp_path / "killed", resume=True, command="")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    start = build_model("fcn8s", num_classes=21, **recipe.model_options).state_dict()
    assert not torch.equal(weights_of(tmp_path / "whole")["score8.weight"].float(), start["score8.weight"])
    sessions = tomllib.loads((tmp_path / "killed" / "sessions.toml").read_text("utf-8"))["session"]
    assert [session["step"] for session in sessions] == [0, 3]


@pytest.mark.parametrize("end", [ctrl_c, terminate])
def test_a_signal_saves_and_says_how_to_go_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None]
) -> None:
    recipe = replace(recipe, optimizer="adamw", clip_norm=1.0)  # saves only when it stops
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit(recipe, tmp_path / "whole", resume=False, command="")
    with monkeypatch.context() as patch:
        stop_at(patch, 2, end)
        with pytest.raises(Stopped, match=r"^SIG\w+ at step 3, saved in .*; go on with: train x --resume$"):
            fit(recipe, tmp_path / "stopped", resume=False, command="train x")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    fit(recipe, tmp_path / "stopped", resume=True, command="train x --resume")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def cli(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "train", *map(str, arguments)]


def quiet() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


@contextmanager
def launched(recipe: Recipe, run: Path) -> Iterator[subprocess.Popen[str]]:
    """The trainer in a process group of its own, with a worker that reads pictures, as in a real run."""
    file = run.with_suffix(".toml")
    file.write_text(replace(recipe, workers=1).to_toml(), "utf-8")
    with subprocess.Popen(
        cli("fit", file, "--folder", run), cwd=ROOT, env=quiet(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_step(step: int, run: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not any(row.step >= step for row in read_log(run / "log.csv")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> str:
    """What it said until it ended by itself, and its worker with it."""
    _, said = process.communicate(timeout=120)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return said


def test_killed_by_the_system_in_the_middle(recipe: Recipe, tmp_path: Path) -> None:
    """kill -9 leaves no time for anything."""
    recipe = replace(recipe, steps=16, **{**SEVERAL_STEPS, "eval_every": 8})
    run = tmp_path / "killed"
    with launched(recipe, run) as process:
        wait_for_step(8, run, process)
        process.kill()
    step = torch.load(run / "state.pt", weights_only=True)["step"]
    assert 7 <= step < 16
    fit(recipe, run, resume=True, command="")
    fit(recipe, tmp_path / "whole", resume=False, command="")
    assert_same_run(tmp_path / "whole", run)


@pytest.mark.parametrize("tell", [os.killpg, os.kill])
def test_told_to_end(recipe: Recipe, tmp_path: Path, tell: Callable[[int, int], None]) -> None:
    """SIGTERM to every process of the job at once, as clusters and containers do, and to the trainer alone."""
    run = tmp_path / "stopped"
    with launched(replace(recipe, steps=100_000, save_minutes=60.0), run) as process:
        wait_for_step(1, run, process)
        tell(process.pid, signal.SIGTERM)
        said = ended(process)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "SIGTERM at step" in said
    assert torch.load(run / "state.pt", weights_only=True)["step"] >= 1


def test_a_run_with_workers_ends_after_its_last_step(recipe: Recipe, tmp_path: Path) -> None:
    with launched(recipe, tmp_path / "whole") as process:
        said = ended(process)
    assert process.returncode == 0, said


def worker_that_sleeps(over: ctypes.c_bool, ready: Any) -> None:
    outlive_signals(over, 0)
    ready.set()
    time.sleep(300)


@pytest.mark.parametrize("over", [False, True])
def test_a_worker_obeys_only_when_the_training_is_over(over: bool) -> None:
    """Both matter: the trainer needs it to end the step, and waits for its end before it goes itself."""
    signals, ready = StopSignals(), multiprocessing.Event()
    process = multiprocessing.Process(target=worker_that_sleeps, args=(signals.over, ready), daemon=True)
    process.start()
    assert ready.wait(60)
    with signals if over else nullcontext():
        pass
    process.terminate()
    process.join(60 if over else 1)
    assert process.is_alive() == (not over)
    process.kill()
    process.join()


def test_a_run_is_not_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with pytest.raises(FileExistsError, match="holds a run; go on with --resume, or choose another --folder"):
        fit(recipe, tmp_path, resume=False, command="")


def test_a_run_goes_on_only_with_its_own_recipe(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, steps=2)
    fit(recipe, tmp_path, resume=False, command="")
    with pytest.raises(ValueError, match=r"another recipe: steps was 2, now 3; head_lr was 0\.01, now 0\.5\. Resume"):
        fit(replace(recipe, steps=3, head_lr=0.5), tmp_path, resume=True, command="")
    fit(replace(recipe, eval_every=9, save_minutes=5.0), tmp_path, resume=True, command="")


def test_a_loss_that_is_no_number_stops_the_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def sums(*arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        total, labelled = cross_entropy_sums(*arguments)  # type: ignore[arg-type]
        return total * (math.nan if len(calls) == 3 else 1), labelled

    monkeypatch.setattr(train.loop, "cross_entropy_sums", sums)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 2, learning rates \[.+, .+\]"):
        fit(recipe, tmp_path, resume=False, command="")
    assert not (tmp_path / "tiny.json").exists()


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda sums: torch.stack([sums[0], sums[1] * math.nan]), "loss"),  # of the throw-away classifier alone
        (lambda sums: sums + (0 * sums).sqrt(), "length of the gradient"),  # the loss is as it was
    ],
)
def test_nothing_that_is_no_number_reaches_weights_and_state(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., torch.Tensor], what: str
) -> None:
    calls = []

    def sums(*arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        total, labelled = cross_entropy_sums(*arguments)  # type: ignore[arg-type]
        return spoil(total) if len(calls) == 3 else total, labelled

    monkeypatch.setattr(train.loop, "cross_entropy_sums", sums)
    with pytest.raises(FloatingPointError, match=f"{what} is nan at step 2"):
        fit(replace(recipe, aux_layers=["fc"], save_minutes=0.0), tmp_path, resume=False, command="")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_a_state_is_on_the_disk_before_it_takes_the_old_one_s_place(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "state.pt", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, file.exists())))
    new_run(recipe).save(file, recipe)
    assert synced == [(file.stat().st_size, False)]


# Two processes

TWO_PROCESSES = """
import torch
from torch import nn
from seg.models import build_model
from seg.models._registry import register
from seg.models.backbone import Backbone, resize
from train.__main__ import main

@register
def plain(*, num_classes: int, backbone: str) -> nn.Module:  # no BatchNorm, no dropout: a picture stands for itself
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone(backbone)
            self.score = nn.Conv2d(self.backbone.channels[-1], num_classes, 1)

        def forward(self, x):
            return resize(self.score(self.backbone(x)[-1]), x.shape[-2:])

    return Plain()

torch.set_num_threads(1)
main()
"""


def test_two_processes_learn_what_one_learns(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(
        recipe, model="plain", model_options={"backbone": "test_efficientnet_ln"}, aux_layers=["score"],
        batch_size=4, steps=4, eval_every=2, eval_images=1, clip_norm=5.0,
    )  # fmt: skip
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), "utf-8")
    (tmp_path / "go.py").write_text(TWO_PROCESSES, "utf-8")
    arguments = ["fit", str(tmp_path / "recipe.toml"), "--folder"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command, run in (([sys.executable], "one"), (torchrun, "two")):
        done = subprocess.run(
            [*command, "go.py", *arguments, run], cwd=tmp_path, env=quiet(), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("wrote ") == 1
    one, two = (log_without_times(tmp_path / run) for run in ("one", "two"))
    assert [row.step for row in two] == [2, 4]
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], rel=1e-5)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    environments = [tomllib.loads((tmp_path / run / "sessions.toml").read_text("utf-8")) for run in ("one", "two")]
    assert [found["session"][0]["processes"] for found in environments] == [1, 2]


def test_the_command_to_go_on_names_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert _launcher() == "python -m train"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert _launcher() == "torchrun --nproc-per-node 4 -m train"
    monkeypatch.setenv("WORLD_SIZE", "8")
    together = "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 --nproc-per-node 4 -m train"
    assert _launcher() == together


def test_processes_share_every_batch() -> None:
    whole = slices(24, batch_size=8, rank=0, processes=1)
    parts = [slices(24, batch_size=8, rank=rank, processes=4) for rank in range(4)]
    assert whole == [[i for part in step for i in part] for step in zip(*parts, strict=True)]
    for batch_size, processes in ((8, 3), (4, 4)):
        with pytest.raises(ValueError, match=f"{processes} processes cannot share a batch of {batch_size}: set"):
            slices(24, batch_size=batch_size, rank=0, processes=processes)


def test_synchronised_batchnorm_keeps_the_parameters_where_optimizer_and_average_expect_them(recipe: Recipe) -> None:
    run = new_run(recipe, synchronise=True)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in run.model.modules())
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in run.ema.modules())
    assert list(run.model.network.state_dict()) == list(run.ema.module.state_dict())
    ours = [name for name, _ in run.model.network.named_buffers()]
    assert ours == [name for name, _ in run.ema.module.named_buffers()]
    learned = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert learned == {id(p) for p in run.model.parameters()}


# Losses, rates, precision


def test_sums_over_parts_make_the_mean_over_the_whole() -> None:
    logits, target = torch.randn(4, 5, 6, 8), torch.randint(0, 5, (4, 12, 16))
    target[0], target[2, :3] = IGNORE_INDEX, IGNORE_INDEX
    halves = [cross_entropy_sums([logits[part]], target[part]) for part in (slice(0, 2), slice(2, 4))]
    total, labelled = (sum(values) for values in zip(*halves, strict=True))
    thinned = target[:, 1::2, 1::2]
    expected = torch.nn.functional.cross_entropy(logits, thinned, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(total[0] / labelled[0], expected)  # type: ignore[index]
    torch.testing.assert_close(segmentation_loss(logits, thinned), expected)


def test_momentum_goes_to_the_same_parameters_in_every_process(recipe: Recipe) -> None:
    run = new_run(recipe)
    encoder = list(encoder_of(run.model.network).parameters())
    rest = [parameter for parameter in run.model.parameters() if not any(parameter is one for one in encoder)]
    in_groups = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    assert len(in_groups) == len(encoder) + len(rest)
    assert all(a is b for a, b in zip(in_groups, encoder + rest, strict=True))


def test_poly_rates_warm_up_and_fall_to_almost_nothing(recipe: Recipe) -> None:
    recipe = replace(recipe, steps=100, warmup_steps=9, encoder_lr=0.5, head_lr=1.0)
    run = new_run(recipe)
    heads = []
    for step in range(100):
        set_learning_rates(run.optimizer, recipe, step)
        encoder, head = (group["lr"] for group in run.optimizer.param_groups)
        assert encoder == pytest.approx(head / 2)
        heads.append(head)
    assert heads[0] == pytest.approx(0.1)
    assert heads[50] == pytest.approx(0.5**0.9)
    assert 0 < heads[-1] < 0.02
    assert heads.index(max(heads)) == 9


@pytest.mark.parametrize("steps", [2, 7, 10, 100])
def test_one_cycle_is_pytorchs(recipe: Recipe, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, cycle_momentum=False)
    recipe = replace(recipe, steps=steps, schedule="onecycle")
    for step in range(steps):
        assert schedule_factor(recipe, step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        if step + 1 < steps:
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize(
    ("cuda", "amx", "resolved"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "no")]
)
def test_automatic_precision_is_the_fast_one(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, amx: bool, resolved: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert environment._has_amx() in (True, False)
    monkeypatch.setattr(environment, "_has_amx", lambda: amx)
    assert resolve_precision("auto") == resolved
    assert [resolve_precision(given) for given in ("bf16", "no")] == ["bf16", "no"]


# Starting from another network


def test_a_network_starts_from_what_fits_of_another(tiny_checkpoint: Path) -> None:
    model = build_model("fcn8s", num_classes=5, backbone=TINY_BACKBONE, fc_channels=16)
    began, told = init_network(
        model, init=str(tiny_checkpoint / "tiny.json"), encoder_init="none", backbone=TINY_BACKBONE
    )
    donor, card = load_checkpoint(tiny_checkpoint / "tiny.json")
    theirs = donor.state_dict()
    assert "the encoder of tiny" in began
    assert (told["from"], told["sha256"]) == ("tiny", card.weights["sha256"])
    assert told["new"] == [name for name in theirs if name.startswith(("score", "up"))]
    assert told["taken"] + len(told["new"]) == len(theirs)
    for name, tensor in model.state_dict().items():
        if name not in told["new"]:
            assert torch.equal(tensor, theirs[name]), name


def test_an_encoder_comes_from_encoder_init_where_init_brings_none_or_a_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tiny_card(), tmp_path)
    model = build_model("fcn8s", num_classes=21, backbone="test_resnet", fc_channels=16)
    began, told = init_network(model, init=str(tmp_path / "tiny.json"), encoder_init="none", backbone="test_resnet")
    assert began == "random weights"
    assert "score32.weight" not in told["new"]
    assert any(name.startswith("backbone.") for name in told["new"])
    other = save_checkpoint(tiny_model(seed=5), tiny_card(name="other"), tmp_path)
    model = build_model("fcn8s", num_classes=21, backbone=TINY_BACKBONE, fc_channels=16)
    began, told = init_network(
        model, init=str(tmp_path / "tiny.json"), encoder_init=str(tmp_path / "other.json"), backbone=TINY_BACKBONE
    )
    assert began.startswith(f"the encoder of other ({other.weights['sha256'][:12]})")
    assert told["new"] == []
    encoders, whole = load_checkpoint(tmp_path / "other.json")[0], load_checkpoint(tmp_path / "tiny.json")[0]
    for name, tensor in model.state_dict().items():
        donor = encoders if name.startswith("backbone.") else whole
        assert torch.equal(tensor, donor.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"init '.*tiny\.json' \(fcn8s\) shares no tensor with this network"):
        init_network(torch.nn.Linear(3, 3), init=str(tmp_path / "tiny.json"), encoder_init="none", backbone="")


def test_init_goes_into_the_card(recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path) -> None:
    card = fit(replace(recipe, init=str(tiny_checkpoint / "tiny.json"), steps=1), tmp_path, resume=False, command="")
    assert card.training["init"]["from"] == "tiny"  # type: ignore[union-attr]
    assert card.training["init"]["new"] == []  # type: ignore[union-attr]
    np.testing.assert_array_less(0, card.training["init"]["taken"])  # type: ignore[union-attr]


def test_frozen_layers_stay_as_they_were(recipe: Recipe, tmp_path: Path) -> None:
    frozen = ["conv_stem", "bn1", "blocks.0"]
    torch.manual_seed(recipe.seed)  # as `fit` does
    run = new_run(replace(recipe, freeze=frozen))
    before = {name: tensor.clone() for name, tensor in run.model.network.backbone.net.state_dict().items()}
    fit(replace(recipe, freeze=frozen, ema_decay=0.0), tmp_path, resume=False, command="x")
    model, _ = load_checkpoint(tmp_path / "tiny.json")
    for name, tensor in model.backbone.net.state_dict().items():
        kept = name.startswith(("conv_stem", "bn1", "blocks.0."))
        half = before[name].half().float() if before[name].ndim > 1 else before[name]
        assert torch.equal(tensor, half) == kept or "num_batches" in name, name


def test_an_unknown_layer_to_freeze_is_named_with_the_known_ones(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"no layer 'block1'; it has conv_stem, .*blocks\.0"):
        new_run(replace(recipe, freeze=["block1"]))


def test_an_unknown_layer_for_a_classifier_is_named_with_the_known_ones(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"'aux_layers': the network has no layer 'decoder\.0'; it has .*fc, .*score8"):
        new_run(replace(recipe, aux_layers=["decoder.0"]))


def test_a_recipe_moves_to_another_encoder_and_its_normalisation(recipe: Recipe, tmp_path: Path) -> None:
    moved = with_backbone(replace(recipe, freeze=["bn1"], init="x.json", encoder_init="none"), "test_resnet")
    assert (moved.name, moved.encoder_init, moved.init, moved.freeze) == ("tiny_test_resnet", "none", "", [])
    card = fit(moved, tmp_path, resume=False, command="x")
    assert card is not None
    assert card.model_options["backbone"] == "test_resnet"
    assert card.preprocess.mean == timm.get_pretrained_cfg("test_resnet").mean
    assert with_backbone(replace(recipe, encoder_init="checkpoints/fcn8s.json"), "resnet50").encoder_init == "imagenet"


def test_a_card_carries_the_run_s_curves_thinned_out(recipe: Recipe, tmp_path: Path) -> None:
    card = fit(replace(recipe, steps=4, eval_every=2, eval_images=2), tmp_path, resume=False, command="")
    assert card is not None
    points = card.training["curves"]
    assert [point["step"] for point in points] == [2, 4]
    rows = read_log(tmp_path / "log.csv")
    assert [point["loss"] for point in points] == pytest.approx([row.loss for row in rows], abs=1e-3)
    assert all(0 <= point["miou"] <= 1 for point in points)
    many = [Row(step, step / 100, 1.0, 0.1, 0.1, None) for step in range(1, 301)]
    assert len(thinned(many)) == 60
    assert thinned(many)[0] == {"step": 5, "loss": 0.03, "miou": None}

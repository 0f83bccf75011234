"""The training loop: draw, augment, forward, loss, step; save so that a killed run goes on as if nothing happened."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.models import DEFAULT_BACKBONE, build_model
from seg.predictor import Predictor
from seg.transforms import Preprocess
from train.augment import Augment
from train.auxiliary import WithAuxiliary
from train.config import Recipe
from train.data import DrawnSamples, Pair, balanced_weights, check_pairs, data_title, listed_pairs
from train.encoder import encoder_of, init_encoder, keep_depthwise_in_float32
from train.evaluate import evaluate
from train.losses import auxiliary_loss, segmentation_loss


@dataclass
class Run:
    """What changes during a run and is saved to resume it."""

    model: WithAuxiliary
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int
    encoder_init: str

    def save(self, path: Path) -> None:
        """Write everything to one file, atomically: a kill leaves the old file or the new one, never half."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "encoder_init": self.encoder_init,
            },
            part,
        )
        part.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.encoder_init = state["encoder_init"]


def fit(recipe: Recipe, folder: Path, *, resume: bool, command: str) -> ModelCard:
    """Train `recipe`; state, log and the finished checkpoint go to `folder`.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
        FloatingPointError: the loss is not a number; names the step and the learning rate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "state.pt"
    if state_file.exists() and not resume:
        raise FileExistsError(f"{folder} holds a run; go on with --resume, or choose another --run folder")
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    set_seed(recipe.seed)
    torch.set_flush_denormal(True)
    commit = git_commit()
    run = _new_run(recipe)
    if state_file.exists():
        run.load(state_file)
    if accelerator.device.type == "cpu":
        keep_depthwise_in_float32(run.model)  # after the EMA copy was made: the copy must not share these forwards
    (folder / "recipe.txt").write_text(json.dumps(recipe.to_dict(), indent=1) + "\n", "utf-8")  # only cards are .json

    preprocess = Preprocess(short_side=recipe.short_side, long_side=recipe.long_side)
    pairs = listed_pairs(Path(recipe.data), recipe.train_list, recipe.class_set)
    present = check_pairs(pairs)
    val = _val_pairs(recipe)
    samples = DrawnSamples(
        pairs,
        balanced_weights(present, recipe.balance),
        Augment(recipe, preprocess),
        start=run.step * recipe.batch_size,
        stop=recipe.steps * recipe.batch_size,
        seed=recipe.seed,
    )
    loader = DataLoader(
        samples,
        batch_size=recipe.batch_size // accelerator.num_processes,
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
    )
    run.ema.to(accelerator.device)
    model, optimizer, loader = accelerator.prepare(run.model, run.optimizer, loader)

    def card() -> ModelCard:
        return _card(recipe, run, preprocess, images=len(pairs), command=command, commit=commit)

    def score() -> float | None:
        return evaluate(Predictor(run.ema.module, card()), val).miou if val else None

    log = (folder / "log.csv").open("a", newline="")
    writer = csv.writer(log)
    saved_at = logged_at = time.monotonic()
    losses: list[float] = []
    model.train()
    progress = tqdm(loader, initial=run.step, total=recipe.steps, desc=recipe.name, unit="step", mininterval=10)
    for x, target in progress:
        _set_learning_rates(optimizer, recipe, run.step)
        torch.manual_seed(recipe.seed * 1_000_003 + run.step)  # dropout too depends on the step, not on how it came
        with accelerator.autocast():
            logits, aux_logits = model(x.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(logits, target)
        if not math.isfinite(loss.item()):
            rates = [group["lr"] for group in optimizer.param_groups]
            raise FloatingPointError(f"loss is {loss.item()} at step {run.step}, learning rates {rates}")
        optimizer.zero_grad()
        accelerator.backward(loss + recipe.aux_weight * auxiliary_loss(aux_logits, target))
        optimizer.step()
        run.step += 1
        run.ema.update_parameters(run.model.network)
        losses.append(loss.item())

        scored = recipe.eval_every and run.step % recipe.eval_every == 0
        if scored or run.step % 20 == 0:
            mean_loss = sum(losses) / len(losses)
            rate = len(losses) * recipe.batch_size / (time.monotonic() - logged_at)
            miou = score() if scored else None
            writer.writerow([run.step, f"{mean_loss:.4f}", f"{rate:.2f}", "" if miou is None else f"{miou:.4f}"])
            log.flush()
            progress.set_postfix(loss=f"{mean_loss:.3f}", images_per_s=f"{rate:.1f}")
            losses.clear()
            logged_at = time.monotonic()
        if accelerator.is_main_process and time.monotonic() - saved_at > 60 * recipe.save_minutes:
            run.save(state_file)
            saved_at = time.monotonic()
    log.close()
    run.save(state_file)
    return save_checkpoint(run.ema.module.eval(), card(), folder)


def _val_pairs(recipe: Recipe) -> list[Pair]:
    """The pictures to score on while training, evenly chosen from the val list and checked; none if never scored."""
    if not (recipe.eval_every and recipe.eval_images):
        return []
    val = listed_pairs(Path(recipe.data), recipe.val_list, recipe.class_set)
    val = val[:: max(1, len(val) // recipe.eval_images)][: recipe.eval_images]
    check_pairs(val)
    return val


def _new_run(recipe: Recipe) -> Run:
    network = build_model(recipe.model, num_classes=len(recipe.class_set), **recipe.model_options)
    encoder_init = init_encoder(network, recipe.encoder_init, recipe.model_options.get("backbone", DEFAULT_BACKBONE))
    network = network.to(memory_format=torch.channels_last)
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    model = WithAuxiliary(network, layers=recipe.aux_layers, num_classes=len(recipe.class_set))
    return Run(model, ema, _make_optimizer(model, recipe), step=0, encoder_init=encoder_init)


def _make_optimizer(model: WithAuxiliary, recipe: Recipe) -> torch.optim.Optimizer:
    encoder = list(encoder_of(model.network).parameters())  # lists: the optimizer's state goes by position
    inside = set(encoder)
    groups = [
        {"params": encoder, "peak_lr": recipe.encoder_lr},
        {"params": [p for p in model.parameters() if p not in inside], "peak_lr": recipe.head_lr},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.head_lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        groups, lr=recipe.head_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )


def _set_learning_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """The poly policy of the DeepLab papers, after a short linear warm-up."""
    factor = (1 - step / recipe.steps) ** recipe.poly_power * min(1.0, (step + 1) / (recipe.warmup_steps + 1))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _card(recipe: Recipe, run: Run, preprocess: Preprocess, *, images: int, command: str, commit: str) -> ModelCard:
    training: dict[str, Any] = {
        "data": data_title(Path(recipe.data), recipe.train_list, recipe.class_set, images),
        "recipe": recipe.to_dict(),
        "command": command,
        "commit": commit,
        "seed": recipe.seed,
        "pictures_seen": run.step * recipe.batch_size,
        "encoder_init": run.encoder_init,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
    }
    return ModelCard(
        name=recipe.name,
        title=recipe.title,
        model=recipe.model,
        model_options=recipe.model_options,
        classes=recipe.class_set,
        preprocess=preprocess,
        weights={},
        parameters=0,
        macs=0,
        macs_input=(512, 512),
        training=training,
        licence="MIT",
        intended_use=(
            "Teaching and comparing network architectures on pictures like those of its training set, with the "
            f"{len(recipe.class_set) - 1} classes of '{recipe.class_set.name}'. "
            "Not for decisions about people, safety or health."
        ),
    )


def git_commit() -> str:
    """The commit of the working tree, "-dirty" if it was changed since; "unknown" outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, timeout=10
        )
        return answer.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"

"""The training loop: draw, augment, forward, loss, step; save so that a killed run goes on as if nothing happened.

Several processes (`torchrun --nproc-per-node N -m train fit ...`) share every batch: each takes its slice of the same
pictures, and the gradient is that of the whole batch. Only the main process scores and writes.
"""

from __future__ import annotations

import math
import signal
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg.card import ModelCard
from seg.models import DEFAULT_BACKBONE
from seg.transforms import Preprocess
from train.augment import Augment, cutmix
from train.config import Recipe
from train.data import DrawnSamples, Pair, balanced_weights, check_pairs, data_title, evenly_chosen, listed_pairs
from train.encoder import keep_in_float32
from train.environment import environment, git_commit, keep_freed_memory, resolve_precision
from train.log import write_recipe, write_session
from train.losses import cross_entropy_sums, distillation_sums, lovasz_softmax
from train.optimise import set_learning_rates
from train.recorder import Recorder, is_scored
from train.soft_labels import SoftLabels
from train.state import Run, Stopped, StopSignals, new_run, outlive_signals


def fit(recipe: Recipe, folder: Path, *, resume: bool, command: str) -> ModelCard | None:
    """Train `recipe`; everything goes to `folder`.

    It gets the checkpoint NAME.json and NAME.safetensors, written anew after every scoring; `best/`, the one of the
    highest score so far; `state.pt` to resume from; and what `train.log` writes for people.

    Args:
        resume: go on from `state.pt` if there is one.
        command: how this was called, for the card and for the message of a stopped run.

    Returns:
        The checkpoint's card; None in processes other than the main one, which write nothing.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
        ValueError: the processes cannot share the batch, or the recipe is not the one of the saved state.
        FloatingPointError: loss or gradient is not a number; names the step and the learning rates.
        Stopped: Ctrl-C or SIGTERM came; the state is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "state.pt"
    saved = state_file.exists()
    if saved and not resume:
        raise FileExistsError(f"{folder} holds a run; go on with --resume, or choose another --folder")

    precision = resolve_precision(recipe.mixed_precision)
    accelerator = _accelerator(precision)
    processes, on_cpu = accelerator.num_processes, accelerator.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    set_seed(recipe.seed)
    torch.set_flush_denormal(True)
    run = new_run(recipe, begin=not saved, synchronise=processes > 1 and not on_cpu)
    if on_cpu and precision == "bf16":
        keep_in_float32(run.model)  # after the EMA copy was made: the copy must not share these forwards
    model = accelerator.prepare(run.model)
    run.ema.to(accelerator.device)
    if saved:
        run.load(state_file, recipe)
    _check_same_step(accelerator, run.step, folder)

    preprocess = _preprocess(recipe)
    pairs = listed_pairs(Path(recipe.data), recipe.train_list, recipe.class_set)
    teacher = _teacher(recipe, pairs)
    present = check_pairs(pairs)
    val = _val_pairs(recipe)
    samples = DrawnSamples(
        pairs,
        balanced_weights(present, recipe.balance),
        Augment(recipe, preprocess),
        start=run.step * recipe.batch_size,
        stop=recipe.steps * recipe.batch_size,
        seed=recipe.seed,
        teacher=teacher,
    )
    signals = StopSignals()
    loader = DataLoader(
        samples,
        batch_sampler=slices(
            len(samples), batch_size=recipe.batch_size, rank=accelerator.process_index, processes=processes
        ),
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
        pin_memory=not on_cpu,
        worker_init_fn=partial(outlive_signals, signals.over),
    )

    machine = environment(accelerator.device, processes=processes, mixed_precision=precision)
    origin = {"command": command, "commit": git_commit(), "seed": recipe.seed}

    def card() -> ModelCard:
        facts = origin | {"environment": machine} | _taught(recipe, teacher)
        return _card(recipe, run, preprocess, present=present, origin=facts)

    recorder = None
    if accelerator.is_main_process:
        write_recipe(folder, recipe)
        began = datetime.now().astimezone().isoformat(timespec="seconds")
        write_session(folder, {"began": began, "step": run.step} | origin | machine)
        recorder = Recorder(recipe, run, folder, val=val, card=card)

    with signals, closing(recorder) if recorder else nullcontext():
        progress = tqdm(
            loader, initial=run.step, total=recipe.steps, desc=recipe.name, unit="step", mininterval=10,
            disable=recorder is None,
        )  # fmt: skip
        model.train()
        for batch in progress:
            loss, stop = _step(recipe, run, model, accelerator, batch, signals)
            if recorder:
                recorder.after_step(loss, progress)
            if is_scored(recipe, run.step):
                accelerator.wait_for_everyone()
            if stop:
                if recorder:
                    recorder.save()
                raise _stopped(signals.received or signal.SIGTERM, run.step, folder, command)
        finished = recorder.finish() if recorder else None
    accelerator.end_training()
    return finished


def slices(count: int, *, batch_size: int, rank: int, processes: int) -> list[list[int]]:
    """Which of `count` samples process `rank` takes in each step: its part of the batch all processes see together.

    Raises:
        ValueError: the batch does not divide evenly, or into single pictures, of which BatchNorm can learn nothing.
    """
    share, rest = divmod(batch_size, processes)
    if rest or share < 2:
        raise ValueError(
            f"{processes} processes cannot share a batch of {batch_size}: "
            f"set batch_size to a multiple of {processes}, at least {2 * processes}"
        )
    mine = range(rank * share, (rank + 1) * share)
    return [[first + i for i in mine] for first in range(0, count, batch_size)]


def _accelerator(precision: str) -> Accelerator:
    """Accelerate with or without torchrun; nobody runs out of patience while the main process scores."""
    patience = InitProcessGroupKwargs(timeout=timedelta(days=365))  # torchrun ends the others when one of them dies
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])


def _check_same_step(accelerator: Accelerator, step: int, folder: Path) -> None:
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            f"the processes would go on from different steps, {steps}: {folder} must be the same folder on all machines"
        )


def _preprocess(recipe: Recipe) -> Preprocess:
    """Input size as in the recipe; normalised as the encoder's ImageNet weights expect it."""
    preprocess = Preprocess(short_side=recipe.short_side, long_side=recipe.long_side)
    known: Any = timm.get_pretrained_cfg(recipe.model_options.get("backbone", DEFAULT_BACKBONE))
    return replace(preprocess, mean=known.mean, std=known.std) if known else preprocess


def _val_pairs(recipe: Recipe) -> list[Pair]:
    """The pictures to score on while training, evenly chosen from the val list, all checked; none if never scored."""
    if not (recipe.eval_every and recipe.eval_images):
        return []
    val = listed_pairs(Path(recipe.data), recipe.val_list, recipe.class_set)
    check_pairs(val)
    return evenly_chosen(val, recipe.eval_images)


def _teacher(recipe: Recipe, pairs: list[Pair]) -> SoftLabels | None:
    """The soft labels that the recipe names, known to fit its pictures."""
    if not recipe.teacher:
        return None
    teacher = SoftLabels(Path(recipe.teacher))
    teacher.check([pair.image.stem for pair in pairs], num_classes=len(recipe.class_set))
    return teacher


def _taught(recipe: Recipe, teacher: SoftLabels | None) -> dict[str, Any]:
    """What a card says about the teacher, if there was one."""
    if teacher is None:
        return {}
    by = {"title": teacher.facts.title, "sha256": teacher.facts.sha256}
    return {"teacher": by | {"weight": recipe.teacher_weight, "temperature": recipe.teacher_temperature}}


def _step(
    recipe: Recipe,
    run: Run,
    model: nn.Module,
    accelerator: Accelerator,
    batch: list[torch.Tensor],
    signals: StopSignals,
) -> tuple[float, bool]:
    """One optimizer step; returns the network's own loss, and whether any process wishes to stop.

    Args:
        batch: x and target; with a teacher also its logits, and which of them count.
    """
    set_learning_rates(run.optimizer, recipe, run.step)
    # Dropout too depends on the step, not on how it came, and is another in each process.
    torch.manual_seed((recipe.seed * 1_000_003 + run.step) * accelerator.num_processes + accelerator.process_index)
    x, target, *taught = cutmix(batch, recipe.cutmix) if recipe.cutmix else batch
    x = x.to(accelerator.device, memory_format=torch.channels_last, non_blocking=True)  # (n, 3, c, c)
    target = target.to(accelerator.device, non_blocking=True)  # (n, c, c)
    with accelerator.autocast():
        logits, aux_logits = model(x)
    stride = recipe.loss_stride
    thinned = logits[..., stride // 2 :: stride, stride // 2 :: stride]
    sums, labelled = cross_entropy_sums([thinned, *aux_logits], target)
    if taught:
        soft, counted = (tensor.to(accelerator.device, non_blocking=True) for tensor in taught)
        teacher_sum, positions = distillation_sums(logits, soft, counted, temperature=recipe.teacher_temperature)
        sums, labelled = torch.cat([sums, teacher_sum[None]]), torch.cat([labelled, positions[None]])

    # A mean over the labelled pixels of all processes. Gradients are averaged over the processes, so each sum is
    # divided by the number of labelled pixels in an average process.
    told = torch.cat([labelled, labelled.new_tensor([bool(signals.received)])])
    *counts, stops = accelerator.reduce(told, reduction="sum").unbind()
    losses = sums * accelerator.num_processes / torch.stack(counts).clamp(min=1)  # own, auxiliary ones, teacher's
    own, aux, teacher = losses.split([1, len(aux_logits), len(taught) // 2])
    objective = own.sum()
    if taught:
        objective = (1 - recipe.teacher_weight) * objective + recipe.teacher_weight * teacher.sum()
    if recipe.lovasz_weight:
        objective = objective + recipe.lovasz_weight * lovasz_softmax(logits, target)
    total = objective + recipe.aux_weight * aux.mean() if aux_logits else objective
    loss, whole = accelerator.reduce(torch.stack([objective, total]).detach(), reduction="mean").tolist()
    _check_finite("loss", whole, run)

    run.optimizer.zero_grad()
    accelerator.backward(total)
    length = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm or math.inf)  # inf shortens nothing
    _check_finite("length of the gradient", length.item(), run)  # else every weight would be no number from here on
    run.optimizer.step()
    run.step += 1
    run.ema.update_parameters(run.model.network)
    return loss, bool(stops)


def _check_finite(what: str, value: float, run: Run) -> None:
    if not math.isfinite(value):
        rates = [group["lr"] for group in run.optimizer.param_groups]
        raise FloatingPointError(f"{what} is {value} at step {run.step}, learning rates {rates}")


def _stopped(number: int, step: int, folder: Path, command: str) -> Stopped:
    command = command if "--resume" in command.split() else f"{command} --resume"
    name = signal.Signals(number).name
    return Stopped(f"{name} at step {step}, saved in {folder}; go on with: {command}", number)


def _card(
    recipe: Recipe, run: Run, preprocess: Preprocess, *, present: np.ndarray, origin: dict[str, Any]
) -> ModelCard:
    """The card of the run as it stands; `present` (n, K) bool says which classes each training picture shows."""
    training: dict[str, Any] = {
        "data": data_title(Path(recipe.data), recipe.train_list, recipe.class_set, len(present)),
        "images_per_class": dict(zip(recipe.class_set.names, present.sum(axis=0).tolist(), strict=True)),
        "recipe": recipe.to_dict(),
        **origin,
        "pictures_seen": run.step * recipe.batch_size,
        "encoder_init": run.encoder_init,
        "init": run.init,
        "date": date.today().isoformat(),
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
        licence=recipe.licence,
        intended_use=(
            "Teaching and comparing network architectures on pictures like those of its training set, with the "
            f"{len(recipe.class_set) - 1} classes of '{recipe.class_set.name}'. "
            "Not for decisions about people, safety or health."
        ),
    )

"""What the main process does beside learning: log, score, write checkpoints, save the state."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.predictor import Predictor
from train.config import Recipe
from train.data import Pair
from train.evaluate import evaluate
from train.log import Row, RunLog, thinned
from train.state import Run

LOG_EVERY = 20  # steps


class Recorder:
    """Looks at a run after every step and writes what is due to the run's folder.

    Args:
        val: pictures to score on; none, and nothing is scored.
        card: the card of the run as it stands, called when a checkpoint is written.
    """

    def __init__(
        self, recipe: Recipe, run: Run, folder: Path, *, val: Sequence[Pair], card: Callable[[], ModelCard]
    ) -> None:
        self.recipe, self.run, self.folder, self.val, self.card = recipe, run, folder, val, card
        self.log = RunLog(folder, step=run.step)
        self._saved_at = self._logged_at = time.monotonic()
        self._logged_step = run.step

    def after_step(self, loss: float, progress: tqdm) -> None:
        """A row of the log when one is due, with a score and a checkpoint when they are; then the state."""
        self.run.losses.append(loss)
        due = is_scored(self.recipe, self.run.step)
        if due or self.run.step % LOG_EVERY == 0:
            self._write_row(scored=due and bool(self.val))
            last = self.log.rows[-1]
            shown = {"loss": f"{last.loss:.3f}", "images_per_s": f"{last.images_per_second:.1f}"}
            progress.set_postfix(shown | ({"miou": f"{self.log.last_miou():.3f}"} if self.log.last_miou() else {}))
        if time.monotonic() - self._saved_at > 60 * self.recipe.save_minutes:
            self.save()

    def save(self) -> None:
        """Write the state a run goes on from."""
        self.run.save(self.folder / "state.pt", self.recipe)
        self._saved_at = time.monotonic()

    def finish(self) -> ModelCard:
        """After the last step: curves, state, checkpoint."""
        self.log.draw()
        self.save()
        return save_checkpoint(self.run.ema.module.eval(), self._card_with_curves(), self.folder)

    def close(self) -> None:
        self.log.close()

    def _card_with_curves(self) -> ModelCard:
        card = self.card()
        return replace(card, training={**card.training, "curves": thinned(self.log.rows)})

    def _write_row(self, *, scored: bool) -> None:
        pictures = (self.run.step - self._logged_step) * self.recipe.batch_size
        seconds = time.monotonic() - self._logged_at
        encoder_lr, head_lr = (group["lr"] for group in self.run.optimizer.param_groups)
        best = self.log.best_miou()
        miou = evaluate(Predictor(self.run.ema.module, self.card()), self.val).miou if scored else None
        losses = self.run.losses
        self.log.write(Row(self.run.step, sum(losses) / len(losses), pictures / seconds, encoder_lr, head_lr, miou))
        losses.clear()
        if miou is not None:
            card = save_checkpoint(self.run.ema.module.eval(), self._card_with_curves(), self.folder)
            if best is None or miou > best:
                copy_checkpoint(card, self.folder, self.folder / "best")
        self._logged_step, self._logged_at = self.run.step, time.monotonic()


def copy_checkpoint(card: ModelCard, source: Path, target: Path) -> None:
    """Copy weights, then card, each atomically."""
    target.mkdir(exist_ok=True)
    for name in (card.weights["file"], f"{card.name}.json"):
        part = target / f"{name}.part"
        shutil.copyfile(source / name, part)
        part.replace(target / name)


def is_scored(recipe: Recipe, step: int) -> bool:
    """Whether the recipe wants a score after this step."""
    return recipe.eval_every > 0 and step % recipe.eval_every == 0

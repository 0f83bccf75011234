"""What a person reads of a run: recipe.toml, sessions.toml, log.csv, TensorBoard events and a picture of the curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from train.config import Recipe, to_toml


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically: a kill leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """recipe.toml: every key as it was resolved. Not JSON: every .json of a run counts as a checkpoint's card."""
    head = "# Every key of this run, --set and defaults included; `python -m train fit` reads this file.\n"
    write_text(folder / "recipe.toml", head + recipe.to_toml())


def write_session(folder: Path, session: dict[str, Any]) -> None:
    """sessions.toml: one more table; a run that was resumed has several, perhaps on several machines."""
    file = folder / "sessions.toml"
    before = file.read_text("utf-8") + "\n" if file.exists() else ""
    write_text(file, f"{before}[[session]]\n{to_toml(session)}")


@dataclass(frozen=True)
class Row:
    """One line of log.csv.

    Attributes:
        step: optimizer steps made.
        loss: mean of the network's own loss since the row before, over all processes.
        images_per_second: over all processes, scoring left out.
        encoder_lr, head_lr: learning rates of the step.
        miou: on the val images of the recipe, 0 to 1; None where nothing was scored.
    """

    step: int
    loss: float
    images_per_second: float
    encoder_lr: float
    head_lr: float
    miou: float | None


class RunLog:
    """The rows of a run, on disk as soon as they are written.

    Rows after `step` are cut off: a killed run wrote them, but its state is older, so they will come again.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.folder = folder
        self.file = folder / "log.csv"
        self.rows = [row for row in read_log(self.file) if row.step <= step]
        write_text(self.file, "".join(map(_line, ([f.name for f in fields(Row)], *map(astuple, self.rows)))))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: Row) -> None:
        """Add a row to log.csv and TensorBoard; a row with a score draws the curves anew."""
        self.rows.append(row)
        with self.file.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(astuple(row)))
        for name in ("loss", "images_per_second", "encoder_lr", "head_lr", "miou"):
            if (value := getattr(row, name)) is not None:
                self._events.add_scalar(name, value, row.step)
        self._events.flush()
        if row.miou is not None:
            self.draw()

    def last_miou(self) -> float | None:
        """The newest score; None before the first."""
        return next((row.miou for row in reversed(self.rows) if row.miou is not None), None)

    def best_miou(self) -> float | None:
        """The highest score so far; None before the first."""
        return max((row.miou for row in self.rows if row.miou is not None), default=None)

    def draw(self) -> None:
        """Write curves.png."""
        draw_curves(self.rows, self.folder / "curves.png")

    def close(self) -> None:
        self._events.close()


def read_log(file: Path) -> list[Row]:
    """The rows of a log.csv, a last one that was cut short left out; none where there is no file."""
    if not file.exists():
        return []
    text = file.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [
        Row(
            step=int(row["step"]),
            loss=float(row["loss"]),
            images_per_second=float(row["images_per_second"]),
            encoder_lr=float(row["encoder_lr"]),
            head_lr=float(row["head_lr"]),
            miou=float(row["miou"]) if row["miou"] else None,
        )
        for row in csv.DictReader(whole.splitlines())
    ]


def thinned(rows: Sequence[Row], most: int = 60) -> list[dict[str, float | int | None]]:
    """At most about `most` points of the curves for a card: step, mean loss since the point before, mIoU or None."""
    share = max(1, -(-len(rows) // most))
    points: list[dict[str, float | int | None]] = []
    for start in range(0, len(rows), share):
        part = rows[start : start + share]
        scores = [row.miou for row in part if row.miou is not None]
        loss = sum(row.loss for row in part) / len(part)
        miou = round(scores[-1], 4) if scores else None
        points.append({"step": part[-1].step, "loss": round(loss, 4), "miou": miou})
    return points


def _line(values: Sequence[Any]) -> str:
    return ",".join("" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in values) + "\n"


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Loss, learning rates and mIoU over the steps, one above the other."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    loss, rates, miou = figure.subplots(3, sharex=True)
    steps = [row.step for row in rows]
    loss.plot(steps, [row.loss for row in rows])
    loss.set_ylabel("loss")
    rates.plot(steps, [row.encoder_lr for row in rows], label="encoder")
    rates.plot(steps, [row.head_lr for row in rows], label="head")
    rates.set_ylabel("learning rate")
    rates.set_yscale("log")
    rates.legend()
    scored = [row for row in rows if row.miou is not None]
    miou.plot([row.step for row in scored], [row.miou for row in scored], marker="o")
    miou.set_ylabel("mIoU on val images")
    miou.set_xlabel("step")
    for axes in (loss, rates, miou):
        axes.grid(alpha=0.3)
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", dpi=120)
    part.replace(path)

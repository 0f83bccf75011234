"""A data set that needs no data: coloured circles, squares, triangles and stars on textured noise, drawn by seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from seg.classes import ClassSet
from train.data import Pair
from train.labels import colour_label, indexed_label
from train.split import write_pairs, write_split

SHAPES = ClassSet(
    name="shapes",
    names=("background", "circle", "square", "triangle", "star"),
    names_zh=("背景", "圆形", "正方形", "三角形", "星形"),
    colours=((0, 0, 0), (230, 75, 60), (50, 130, 200), (40, 170, 100), (240, 190, 40)),
)
LABEL_KINDS = {"indexed": indexed_label, "colour": colour_label}
_SMOOTH = 4  # shapes are drawn this much larger, then reduced: soft edges, as in a photograph


def write_shapes(folder: Path, *, images: int = 200, side: int = 128, labels: str = "indexed", seed: int = 0) -> None:
    """Draw `images` pictures of `side` x `side` pixels with their labels, and write class file and CSV lists.

    The folder gets images/, labels/, classes.toml, pairs.csv, and train.csv, val.csv, test.csv (0.7 : 0.1 : 0.2).
    Picture i depends on `seed` and i alone.

    Args:
        labels: "indexed" (ids) or "colour" (the classes' colours).

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: fewer than three pictures, or an unknown kind of labels.
    """
    if labels not in LABEL_KINDS:
        raise ValueError(f"unknown kind of labels '{labels}'; known: {', '.join(LABEL_KINDS)}")
    if images < 3:
        raise ValueError(f"three lists need at least 3 pictures, got {images}")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; choose a new folder")
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    pairs = []
    for number in range(images):
        image, ids = draw_shapes(np.random.default_rng([seed, number]), side=side)
        pair = Pair(folder / "images" / f"{number:04d}.jpg", folder / "labels" / f"{number:04d}.png", SHAPES)
        image.save(pair.image, quality=92)
        LABEL_KINDS[labels](ids, SHAPES).save(pair.label)
        pairs.append(pair)
    (folder / "classes.toml").write_text(class_file(SHAPES), "utf-8")
    write_pairs(folder / "pairs.csv", pairs)
    write_split(pairs, folder, seed=seed)


def draw_shapes(rng: np.random.Generator, *, side: int) -> tuple[Image.Image, np.ndarray]:
    """One to four shapes on noise -> RGB picture (side, side) and its ids (side, side) uint8.

    Any shape may have any colour, so that only its outline tells what it is; later shapes cover earlier ones.
    """
    picture = rng.uniform(40, 215, 3) + _noise(rng, side)  # (side, side, 3)
    ids = np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(1, 5)):
        class_id = int(rng.integers(1, len(SHAPES)))
        radius = side * rng.uniform(0.12, 0.28)
        centre = rng.uniform(0.6 * radius, side - 0.6 * radius, 2)
        cover = _cover(class_id, centre, radius, turn=rng.uniform(0, 2 * math.pi), side=side)
        surface = _colour_apart_from(picture[cover > 0.5].mean(axis=0), rng) + 0.3 * _noise(rng, side)
        picture += cover[..., None] * (surface - picture)
        ids[cover > 0.5] = class_id
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8)), ids


def class_file(classes: ClassSet) -> str:
    """A class set as the TOML that `train.config.load_class_set` reads."""
    lines = ["# The first class, id 0, is the background. Labels in colours use these colours."]
    for key, values in (("names", classes.names), ("names_zh", classes.names_zh)):
        lines.append(f"{key} = [{', '.join(_quoted(value) for value in values)}]")
    lines.append(f"colours = [{', '.join(str(list(colour)) for colour in classes.colours)}]")
    return "\n".join([lines[0], f"name = {_quoted(classes.name)}", *lines[1:]]) + "\n"


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3) float around 0: random numbers on coarse and fine grids, smoothly enlarged and added."""
    total = np.zeros((side, side, 3))
    for cells in (4, 16, 64):
        grid = rng.normal(0, 28 if cells < 64 else 14, (cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            smooth = Image.fromarray(grid[..., channel]).resize((side, side), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(smooth)
    return total


def _colour_apart_from(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) a random colour that can be told from `colour`."""
    return max(rng.uniform(0, 255, (8, 3)), key=lambda one: float(np.abs(one - colour).sum()))


def _cover(class_id: int, centre: np.ndarray, radius: float, *, turn: float, side: int) -> np.ndarray:
    """(side, side) float in 0..1: how much of each pixel a shape covers."""
    large = Image.new("L", (side * _SMOOTH, side * _SMOOTH))
    points = [tuple(_SMOOTH * point) for point in centre + radius * _outline(SHAPES.names[class_id], turn)]
    ImageDraw.Draw(large).polygon(points, fill=255)
    return np.asarray(large.reduce(_SMOOTH), np.float64) / 255


def _outline(name: str, turn: float) -> np.ndarray:
    """(n, 2) corners of a shape of radius 1 around (0, 0), turned by `turn` radians."""
    corners = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[name]
    angles = turn + np.arange(corners) * (2 * math.pi / corners)
    radii = np.where(np.arange(corners) % 2, 0.42, 1.0) if name == "star" else np.ones(corners)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

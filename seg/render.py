"""From ids to pictures: indexed masks, overlays, outlines, confidence, disagreement, legends and the three-part figure.

Pictures are resized here where a figure needs it, label maps never: an id between two ids means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from seg.classes import IGNORE_INDEX, PATTERNS, ClassSet, Look

RGB = tuple[int, int, int]

_AGREE: RGB = (224, 224, 224)
_OTHERWISE: RGB = (0, 0, 0)
_ABOVE: RGB = (0, 110, 92)
_BELOW: RGB = (178, 70, 0)
# Three of Okabe and Ito's colours, told apart with every common colour blindness.
_NETWORKS: tuple[RGB, ...] = ((230, 159, 0), (86, 180, 233), (0, 158, 115))
_NAMED = len(_NETWORKS)  # with more networks nobody learns more colours: the map counts them
MOST_COMPARED = 20


def to_indexed(label_map: np.ndarray, class_set: ClassSet) -> Image.Image:
    """Label map (H, W) uint8 -> picture of mode "P" whose pixel values are the ids and whose palette is the colormap.

    Saved as PNG it keeps both: colours for people, ids for programs, as in VOC's own annotations.
    """
    return _indexed(_checked(label_map), class_set.colormap)


def colourise(label_map: np.ndarray, class_set: ClassSet) -> np.ndarray:
    """Label map (H, W) uint8 -> (H, W, 3) uint8 RGB, each pixel in the colour of its class."""
    return class_set.colormap[_checked(label_map)]


def outlines(label_map: np.ndarray, *, width: int = 1) -> np.ndarray:
    """(H, W) bool: the rim of everything that is not background, drawn inside it.

    True where the id is not 0 and, at most `width` pixels away along the row or the column, another id begins. With
    width 1: a 4-neighbour has another id. An object against background has a rim of `width` pixels, two objects side
    by side have one each, so the line between them lies evenly on both. Where an object leaves the picture is no rim.
    """
    ids = _checked(label_map)
    if width < 1:
        raise ValueError(f"width of an outline must be at least 1 pixel, got {width}")
    return _near_change(ids, width) & (ids != 0)


def patterned(label_map: np.ndarray, class_set: ClassSet, looks: Mapping[int, Look]) -> Image.Image:
    """Label map (H, W) uint8 -> RGB picture with these looks; an id without one has its colour in `class_set`.

    Patterns are as large as the page's viewer draws them: about 28 tiles across.
    """
    ids = _checked(label_map)
    side = max(8, round(ids.shape[1] / 28))
    enlarged = np.arange(side) * 8 // side
    colours, inks = class_set.colormap.copy(), np.zeros((256, 3), np.uint8)
    tiles = np.zeros((256, side, side), bool)
    for class_id, look in looks.items():
        colours[class_id], inks[class_id] = look.colour, look.ink
        tiles[class_id] = PATTERNS[look.pattern][np.ix_(enlarged, enlarged)]
    y, x = (np.arange(length) % side for length in ids.shape)
    inked = tiles[ids, y[:, None], x]  # (H, W)
    return Image.fromarray(np.where(inked[..., None], inks[ids], colours[ids]))


def overlay(
    photo: Image.Image,
    label_map: np.ndarray,
    class_set: ClassSet,
    *,
    opacity: float = 0.6,
    looks: Mapping[int, Look] | None = None,
) -> Image.Image:
    """The photo with every class tinted and outlined in its colour; the background stays as it is.

    Just outside an outline runs a thin white edge, so that a dark colour shows on a dark background too.

    Args:
        photo: upright RGB.
        label_map: (H, W) uint8 of the photo's size.
        opacity: of the tint, 0 (photo) to 1 (plain colour); outlines always have full strength.
        looks: other colours, with patterns, as `patterned` takes them.

    Raises:
        ValueError: sizes differ, or opacity outside 0..1.
    """
    if (photo.height, photo.width) != label_map.shape:
        raise ValueError(
            f"photo is {photo.height} x {photo.width} (H x W), label map {label_map.shape}; "
            "give the label map of this very photo"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}")
    photo = photo.convert("RGB")
    colours = patterned(label_map, class_set, looks) if looks else to_indexed(label_map, class_set).convert("RGB")
    result = photo.copy()
    result.paste(Image.blend(photo, colours, opacity), mask=Image.fromarray(label_map != 0))
    width = max(1, round(min(photo.size) / 350))  # stays visible when a large photo is shown small
    result.paste(colours, mask=Image.fromarray(outlines(label_map, width=width)))
    edge = _near_change(label_map, max(1, width // 2)) & (label_map == 0)
    result.paste("white", mask=Image.fromarray(edge))
    return result


def confidence_picture(confidence: np.ndarray) -> Image.Image:
    """Confidence (H, W) in [0, 1] -> RGB picture in viridis: 0 dark blue, 1 bright yellow, equal steps look equal."""
    levels = np.rint(np.clip(confidence, 0, 1) * np.float32(255)).astype(np.uint8)  # (H, W)
    return _indexed(levels, confidence_colours()).convert("RGB")


def signed_picture(values: np.ndarray, *, most: float | None = None) -> Image.Image:
    """Values (H, W) of both signs -> RGB picture: 0 white, `most` green, -`most` orange, linear between.

    Args:
        most: size of the value in full colour, larger ones are cut; default the largest in `values`.
    """
    most = float(np.abs(values).max()) if most is None else most
    share = np.clip(values / max(most, 1e-12), -1, 1)[..., None]  # (H, W, 1)
    full = np.where(share > 0, _ABOVE, _BELOW)  # (H, W, 3)
    return Image.fromarray(np.rint(255 + np.abs(share) * (full - 255.0)).astype(np.uint8))


def changed_picture(photo: Image.Image, changed: np.ndarray) -> Image.Image:
    """The photo in pale grey, red where `changed` (H, W) bool is True."""
    grey = np.asarray(photo.convert("L"), np.float32)[..., None]
    pale = np.repeat(128 + grey / 2, 3, axis=2).astype(np.uint8)  # (H, W, 3)
    pale[changed] = (204, 0, 34)
    return Image.fromarray(pale)


def disagreement(label_maps: Sequence[np.ndarray]) -> np.ndarray:
    """Where n networks differ about one photo.

    Args:
        label_maps: n >= 1 label maps (H, W) uint8 of one size.

    Returns:
        (H, W) uint8 codes, 0 where all agree. Up to three networks: i + 1 where only network i says something else and
        the others agree, n + 1 for anything else; two networks differ without an odd one out, so that is always 3.
        From four networks on: how many do not belong to the largest group of the same opinion, 1 to n - 1.

    Raises:
        ValueError: no label map, or different sizes.
    """
    maps = [_checked(label_map) for label_map in label_maps]
    if not maps or any(ids.shape != maps[0].shape for ids in maps):
        raise ValueError(f"disagreement needs label maps of one photo; got sizes {[ids.shape for ids in maps]}")
    count = len(maps)
    if count > _NAMED:
        groups = [sum((ids == other).astype(np.uint8) for other in maps) for ids in maps]  # its size, of each network
        return count - np.maximum.reduce(groups)
    codes = np.full(maps[0].shape, count + 1, np.uint8)
    if count > 2:
        for i in range(count):
            codes[_all_equal(maps[:i] + maps[i + 1 :])] = i + 1
    codes[_all_equal(maps)] = 0
    return codes


def disagreement_colours(count: int) -> tuple[RGB, ...]:
    """Colours of all codes of `disagreement` for `count` networks, code 0 first; safe with every colour blindness.

    Up to three networks: light grey, one colour per network, black. From four on: light to dark.
    """
    if not 1 <= count <= MOST_COMPARED:
        raise ValueError(f"there are colours for 1 to {MOST_COMPARED} networks, not {count}; compare fewer")
    if count <= _NAMED:
        return (_AGREE, *_NETWORKS[:count], _OTHERWISE)
    steps = np.linspace(0.2, 1, count - 1)
    darker = colormaps["YlOrRd"](steps)[:, :3] * (255 - 120 * steps[:, None])  # the map itself ends in a bright red
    return (_AGREE, *((int(red), int(green), int(blue)) for red, green, blue in darker))


def disagreement_picture(codes: np.ndarray, *, count: int) -> Image.Image:
    """Codes (H, W) of `disagreement` for `count` networks -> picture of mode "P": values codes, palette the colours."""
    colours = np.zeros((256, 3), np.uint8)
    known = disagreement_colours(count)
    colours[: len(known)] = known
    return _indexed(_checked(codes), colours)


def legend(class_set: ClassSet, ids: Iterable[int], *, language: str = "en") -> list[tuple[int, str, str]]:
    """(id, name, "#rrggbb") for each of `ids`, in their order; names in English ("en") or Chinese ("zh").

    Raises:
        ValueError: an id that the class set does not have, or another language.
    """
    if language not in ("en", "zh"):
        raise ValueError(f"no class names in language '{language}'; known: en, zh")
    names = class_set.names if language == "en" else class_set.names_zh
    entries = []
    for class_id in map(int, ids):
        if class_id == IGNORE_INDEX:
            name = "no label" if language == "en" else "无标注"
        elif 0 <= class_id < len(names):
            name = names[class_id]
        else:
            raise ValueError(f"class set '{class_set.name}' has no id {class_id}; ids are 0 to {len(names) - 1}")
        red, green, blue = class_set.colormap[class_id]
        entries.append((class_id, name, f"#{red:02x}{green:02x}{blue:02x}"))
    return entries


def triptych(photo: Image.Image, label_map: np.ndarray, class_set: ClassSet, *, title: str = "") -> Image.Image:
    """Original | prediction | overlay as one RGB figure 1500 pixels wide, with the classes found and their shares.

    A panorama's three parts lie under each other instead of side by side.
    """
    pictures = {
        "original": photo.convert("RGB"),
        "prediction": to_indexed(label_map, class_set).convert("RGB"),
        "overlay": overlay(photo, label_map, class_set),
    }
    return _three_parts(pictures, _legend_handles(label_map, class_set), title)


def comparison(
    photo: Image.Image, target: np.ndarray, label_map: np.ndarray, class_set: ClassSet, *, title: str = ""
) -> Image.Image:
    """Original | label | prediction as one RGB figure 1500 pixels wide, with the classes of both and their colours.

    Args:
        photo: upright RGB.
        target, label_map: (H, W) uint8 of the photo's size; IGNORE_INDEX is drawn in its own colour.
    """
    pictures = {
        "original": photo.convert("RGB"),
        "label": to_indexed(target, class_set).convert("RGB"),
        "prediction": to_indexed(label_map, class_set).convert("RGB"),
    }
    present = np.union1d(target, label_map)
    handles = [_patch(colour, name) for _, name, colour in legend(class_set, present)]
    return _three_parts(pictures, handles, title)


def _three_parts(pictures: dict[str, Image.Image], handles: list[Patch], title: str) -> Image.Image:
    """Three pictures of one size with their captions and a legend; the first one's shape decides the layout."""
    photo = next(iter(pictures.values()))
    # All lengths in pixels; the figure's height follows from the photo's shape.
    width, margin, gap, caption, entry_height, entry_columns = 1500, 24, 16, 34, 32, 6
    head = 52 if title else 12
    stacked = photo.width > 3 * photo.height
    room = width - 2 * margin if stacked else (width - 2 * margin - 2 * gap) / 3
    scale = min(room / photo.width, 1000 / photo.height)
    w, h = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    foot = 20 + entry_height * -(-len(handles) // entry_columns) + 12
    rows, columns = (3, 1) if stacked else (1, 3)
    height = head + rows * (caption + h) + foot

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)  # the object API: pyplot keeps global state and is unsafe in threads
    if title:
        figure.text(0.5, 1 - head / 2 / height, title, ha="center", va="center", size=17, parse_math=False)
    for i, (name, picture) in enumerate(pictures.items()):
        row, column = divmod(i, columns)
        left = margin + column * (room + gap) + (room - w) / 2
        top = head + row * (caption + h) + caption
        axes = figure.add_axes((left / width, 1 - (top + h) / height, w / width, h / height))
        axes.imshow(np.asarray(picture.resize((w, h), Image.Resampling.LANCZOS)), aspect="auto")
        axes.set_title(name, size=13, color="0.25", pad=6)
        axes.set_axis_off()
    names = figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 6 / height),
        ncols=min(entry_columns, len(handles)),
        frameon=False,
        fontsize=13,
        handlelength=1.2,
        handleheight=1.0,
        columnspacing=2.2,
    )
    for text in names.get_texts():
        text.set_parse_math(False)  # a class name may have a $
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _legend_handles(label_map: np.ndarray, class_set: ClassSet) -> list[Patch]:
    """A colour patch per class present, largest share first."""
    counts = np.bincount(label_map.ravel(), minlength=256)
    present = sorted(map(int, np.flatnonzero(counts)), key=lambda class_id: -counts[class_id])
    handles = []
    for class_id, name, colour in legend(class_set, present):
        share = share_text(counts[class_id] / label_map.size)
        handles.append(_patch(colour, f"{name}  {share}"))
    return handles


def _patch(colour: str, label: str) -> Patch:
    return Patch(facecolor=colour, edgecolor="0.4", linewidth=0.6, label=label)


def share_text(share: float) -> str:
    """A share of the photo for people: 0.3127 -> "31.3 %"; what would round to nothing is "< 0.1 %"."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def _near_change(ids: np.ndarray, distance: int) -> np.ndarray:
    """(H, W) bool: another id lies at most `distance` pixels away along the row or the column."""
    near = np.zeros(ids.shape, bool)
    for step in range(1, distance + 1):
        down = ids[step:] != ids[:-step]  # (H - step, W)
        near[step:] |= down
        near[:-step] |= down
        right = ids[:, step:] != ids[:, :-step]  # (H, W - step)
        near[:, step:] |= right
        near[:, :-step] |= right
    return near


def _indexed(values: np.ndarray, colours: np.ndarray) -> Image.Image:
    image = Image.fromarray(values).copy()  # a copy, because Pillow would share the array's memory
    image.putpalette(colours.tobytes())  # mode "L" becomes "P", values stay
    return image


@lru_cache(maxsize=1)
def confidence_colours() -> np.ndarray:
    """(256, 3) uint8: the colours of `confidence_picture`, from no confidence to full."""
    return np.ascontiguousarray(colormaps["viridis"](np.arange(256), bytes=True)[:, :3])


def _all_equal(maps: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W) bool: every map has the same id there."""
    return np.logical_and.reduce([maps[0] == other for other in maps])


def _checked(label_map: np.ndarray) -> np.ndarray:
    if label_map.ndim != 2 or label_map.dtype != np.uint8:
        raise ValueError(f"a label map is (H, W) uint8, got {label_map.shape} of {label_map.dtype}")
    return label_map

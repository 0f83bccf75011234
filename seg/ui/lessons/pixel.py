"""Lesson: one pixel. What every network thinks of it, and how much of the photo each of them looks at for that."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from seg import Predictor, load_predictor
from seg.explain.receptive_field import (
    EffectiveField,
    effective_field,
    entropy_bits,
    has_image_pooling,
    margin,
    reach,
    without_image_pooling,
)
from seg.render import share_text
from seg.ui.board import Block, Words, both, box, cell, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, choice, class_cell, networks

TOP = 5
Point = tuple[int, int]


def answer(*, photo: Image.Image, point: tuple[float, float], names: list[str], field: str) -> list[Block]:
    """The photo to point at, the likeliest classes, and a heat map of what moved the answer."""
    here = min(int(point[0] * photo.width), photo.width - 1), min(int(point[1] * photo.height), photo.height - 1)
    blocks = [
        pictures(
            picture(
                photo,
                both("Your photo: click on it", "你的照片：点一下"),
                note=f"x {here[0]}, y {here[1]}",
                pick=True,
                shapes=[dot(here[0] + 0.5, here[1] + 0.5)],
            ),
            columns=2,
        )
    ]
    predictors = [load_predictor(name) for name in names]
    if not predictors:
        return [*blocks, text(both("Choose at least one network.", "请至少选择一个网络。"))]
    fields = [field_at(predictor, photo, here) for predictor in predictors] if field == "show" else []
    found = [_softmax(one.scores) for one in fields]  # the pass that gave the gradient gave the scores too
    found = found or [probabilities_at(predictor, photo, here) for predictor in predictors]
    blocks += [_likeliest(predictors, found), _certainty(predictors, found), *_agreement(predictors, found)]
    return [*blocks, *(_fields(predictors, fields, photo, here) if fields else [])]


@torch.inference_mode()
def probabilities_at(predictor: Predictor, photo: Image.Image, at: Point) -> np.ndarray:
    """(K,) float32: the probabilities whose largest the tab "Segment" shows at this pixel of the photo."""
    x, geometry = predictor.card.preprocess.apply(photo)
    one = predictor.card.preprocess.restore_at(predictor.logits(x), geometry, at)  # (K,)
    return one.softmax(dim=0).numpy()


def field_at(predictor: Predictor, photo: Image.Image, at: Point) -> EffectiveField:
    """What moved the winning class's score at this pixel of the photo."""
    x, geometry = predictor.card.preprocess.apply(photo)
    read = partial(predictor.card.preprocess.restore_at, geometry=geometry, at=at)
    return effective_field(predictor.network, x, read)


def _softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(scores).softmax(dim=0).numpy()


def _likeliest(predictors: list[Predictor], found: list[np.ndarray]) -> Block:
    rows = []
    for predictor, probabilities in zip(predictors, found, strict=True):
        classes = predictor.card.classes
        row: list[object] = [predictor.card.title]
        for i in np.argsort(-probabilities)[:TOP].tolist():
            share = f"{100 * probabilities[i]:.1f} %"
            words = both(f"{classes.names[i]} {share}", f"{classes.names_zh[i]} {share}")
            row.append(class_cell(classes, i, words, bar=float(probabilities[i])))
        rows.append(row)
    head: list[Words | str] = [both("Network", "网络"), *(f"{i}." for i in range(1, TOP + 1))]
    return table(head, rows, title=both("The five likeliest classes", "最可能的五个类别"))


def _certainty(predictors: list[Predictor], found: list[np.ndarray]) -> Block:
    rows: list[list[object]] = []
    for predictor, probabilities in zip(predictors, found, strict=True):
        bits, most = entropy_bits(probabilities), float(np.log2(len(probabilities)))
        lead = margin(probabilities)
        rows.append(
            [
                predictor.card.title,
                cell(f"{bits:.2f} / {most:.2f} ({100 * bits / most:.0f} %)", bar=bits / most),
                cell(f"{100 * lead:.1f} %", bar=lead),
            ]
        )
    head = [
        both("Network", "网络"),
        both("Entropy in bits / the most possible (0: certain)", "熵（比特）/ 最大可能值（0 为确定）"),
        both("Lead of the first class", "第一名的领先幅度"),
    ]
    return table(head, rows, title=both("How sure is it?", "有多确定？"))


def _agreement(predictors: list[Predictor], found: list[np.ndarray]) -> list[Block]:
    if len(predictors) < 2:
        return []
    said = [predictor.card.classes.names[int(p.argmax())] for predictor, p in zip(predictors, found, strict=True)]
    said_zh = [predictor.card.classes.names_zh[int(p.argmax())] for predictor, p in zip(predictors, found, strict=True)]
    unsure = max(range(len(found)), key=lambda i: entropy_bits(found[i]))
    title = predictors[unsure].card.title
    if len(set(said)) == 1:
        words = both(
            f"Here all say {said[0]}; {title} is the least sure.", f"这里都说是{said_zh[0]}；{title} 最没把握。"
        )
    else:
        en, zh = ", ".join(dict.fromkeys(said)), "、".join(dict.fromkeys(said_zh))
        words = both(
            f"Here the networks do not agree ({en}); {title} is the least sure.",
            f"这里各网络意见不一（{zh}）；{title} 最没把握。",
        )
    return [text(words, finding=True)]


def _fields(predictors: list[Predictor], fields: list[EffectiveField], photo: Image.Image, here: Point) -> list[Block]:
    most = max(_smoothed(field.weight).max() for field in fields)
    items, rows = [], []
    for predictor, field in zip(predictors, fields, strict=True):
        height, width = field.weight.shape
        at = here[0] * width // photo.width, here[1] * height // photo.height
        items.append(_heat(predictor, field, at, photo, most))
        rows.append(_spread(predictor, field, at))
    head = [
        both("Network", "网络"),
        both("50 % of it", "其中 50 %"),
        both("95 % of it", "其中 95 %"),
        both("could look at", "最多能看到"),
    ]
    explained = both(
        "Bright: a large share of this network's own sensitivity lies here: the gradient of the winning class's score "
        "before softmax, its absolute value summed over the three colours, divided by its sum over the picture. All "
        "pictures share one scale of these shares (its square root is drawn), so they show where a network looks, not "
        "which one reacts more strongly. The dashed box is what could matter at all by construction; often it is "
        "larger than the picture, so not seen.",
        "越亮，表示这个网络自身的敏感度有越大的份额落在这里：取获胜类别在 softmax 之前得分的梯度，"
        "其绝对值对三个颜色通道求和，再除以整张图的总和。所有图按这个份额用同一标尺（画的是平方根），"
        "所以它说明网络看哪里，而不是哪个网络反应更强。虚线框是结构上可能起作用的范围；它常常比图还大，这时看不到。",
    )
    wide = both(
        "How wide is it? (share of the picture, and radius around your point in pixels of the network's input)",
        "有多宽？（占图的面积，以及以所点位置为圆心的半径，单位为网络输入的像素）",
    )
    return [
        pictures(*items, title=both("Effective receptive field", "有效感受野"), columns=3),
        text(explained),
        table(head, rows, title=wide),
        *_compared(predictors, fields),
    ]


def _compared(predictors: list[Predictor], fields: list[EffectiveField]) -> list[Block]:
    """Who looks at most and who at least, as shares of the picture."""
    halves = {p.card.title: field.area_of(0.5) for p, field in zip(predictors, fields, strict=True)}
    halves = {title: share for title, share in halves.items() if share == share}  # nan: no gradient at all
    if len(halves) < 2:
        return []
    least, most = min(halves, key=halves.__getitem__), max(halves, key=halves.__getitem__)
    low, high = share_text(halves[least]), share_text(halves[most])
    words = both(
        f"Half of what moved the answer lies on {low} of the picture for {least}, on {high} for {most}.",
        f"对答案的影响，有一半在 {least} 中只来自图的 {low}，在 {most} 中来自 {high}。",
    )
    return [text(words, finding=True)]


def _heat(predictor: Predictor, field: EffectiveField, at: Point, photo: Image.Image, most: float) -> dict:
    """The gradient over a dim photo, at the size the network sees."""
    height, width = field.weight.shape
    levels = np.sqrt(np.clip(_smoothed(field.weight) / max(most, 1e-12), 0, 1))  # (h, w); the root shows weak ones
    hot = colormaps["inferno"](levels)[..., :3] * 255
    grey = np.asarray(photo.resize((width, height)).convert("L"), np.float32)[..., None]
    shown = np.clip(0.35 * grey * (1 - levels[..., None]) + hot, 0, 255).astype(np.uint8)
    shapes = [dot(at[0] + 0.5, at[1] + 0.5, size=7)]
    if isinstance(sides := farthest(predictor.network, at), tuple):
        left, right, up, down = sides
        shapes.append(box(at[0] - left, at[1] - up, at[0] + right + 1, at[1] + down + 1, dashed=True))
    classes = predictor.card.classes
    note = both(f"score of {classes.names[field.class_id]}", f"{classes.names_zh[field.class_id]}的得分")
    return picture(shown, predictor.card.title, note=note, shapes=shapes)


def _smoothed(weight: np.ndarray) -> np.ndarray:
    """Mean over 5 x 5 pixels: single gradients are noisy, and it is the region that counts."""
    padded = torch.nn.functional.pad(torch.from_numpy(weight)[None, None], (2, 2, 2, 2), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 5, stride=1)[0, 0].numpy()


def _spread(predictor: Predictor, field: EffectiveField, at: Point) -> list:
    held = [_held(field, share, at) for share in (0.5, 0.95)]
    return [predictor.card.title, *held, _could(predictor.network, at)]


def _held(field: EffectiveField, share: float, at: Point) -> str | dict:
    area, radius = field.area_of(share), field.radius_of(share, at)
    if area != area:  # nan: no gradient at all
        return "–"
    on = share_text(area)
    return cell(both(f"{on}, radius {radius:.0f}", f"{on}，半径 {radius:.0f}"), bar=area)


def _could(network: torch.nn.Module, at: Point) -> Words:
    sides = farthest(network, at)
    if isinstance(sides, tuple):
        return both(_size(sides), _size(sides))
    if sides == "unknown":
        return both("not computed for this encoder", "此编码器未计算")
    if has_image_pooling(network) and isinstance(inner := farthest(without_image_pooling(network), at), tuple):
        return both(
            f"all of it, at any size; without image pooling {_size(inner)}",
            f"整张图，无论多大；去掉全局池化后 {_size(inner)}",
        )
    return both("all of it, at any size", "整张图，无论多大")


def _size(sides: tuple[int, int, int, int]) -> str:
    left, right, up, down = sides
    return f"{left + right + 1} × {up + down + 1}"


def farthest(network: torch.nn.Module, at: Point) -> tuple[int, int, int, int] | str:
    """How far it could look left, right, up and down from this pixel of its input; or "everywhere", "unknown"."""
    try:
        sides = _reach(network, at[0] % 64), _reach(network, at[1] % 64)
    except ValueError:
        return "unknown"
    return "everywhere" if sides[0] is None or sides[1] is None else (*sides[0], *sides[1])


_reach = lru_cache(maxsize=1024)(reach)  # a fact about the construction, no photo in it


LESSON = Lesson(
    key="pixel",
    title=both("One pixel, all networks", "同一个像素，所有网络"),
    tells=[
        both(
            "For every pixel a network gives a probability to every class; the picture shows only the winner. Entropy "
            "tells how undecided it was: 0 bits when one class has everything, log2 of the number of classes when all "
            "have the same probability.",
            "网络给每个像素的每个类别一个概率，图上只显示获胜者。熵说明它有多犹豫：一个类别占全部时为 0 比特，"
            "所有类别概率相等时为类别数的 log2。",
        ),
        both(
            "For that one pixel it looks at many others. The receptive field is what it could look at; the effective "
            "one is what really moved the answer. It is usually much smaller, strongest near the pixel itself.",
            "为了这一个像素，它会看许多别的像素。感受野是它可能看到的范围，有效感受野是真正影响答案的部分。"
            "后者通常小得多，离该像素越近越强。",
        ),
    ],
    do=both(
        "Click on the middle of a thing, then on its outline, then on the background next to it.",
        "先点物体中央，再点它的轮廓，然后点旁边的背景。",
    ),
    notice=both(
        "Near an outline entropy grows and the lead shrinks. Compare how far the bright regions reach.",
        "靠近轮廓时熵变大，领先幅度变小。比较各网络亮区伸展得多远。",
    ),
    paper=both(
        "Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural "
        "Networks, NIPS 2016, section 2",
        "Luo, Li, Urtasun, Zemel：Understanding the Effective Receptive Field in Deep Convolutional Neural "
        "Networks，NIPS 2016，第 2 节",
    ),
    controls=[
        networks(),
        choice(
            "field",
            both("Receptive field", "感受野"),
            [(both("show it", "显示"), "show"), (both("only probabilities (faster)", "只看概率（更快）"), "hide")],
        ),
    ],
    answer=answer,
)

"""Lesson: FCN from coarse to fine. Score maps of three strides, their sum, and what it does to an outline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from seg import list_checkpoints, load_predictor
from seg.classes import VOC, ClassSet
from seg.explain.fcn import Fusion, fuse_scores, rim, score_maps, summands, transition_width
from seg.models.fcn import FCN
from seg.render import confidence_picture, share_text, signed_picture
from seg.ui.board import Block, Words, both, box, chart, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Control, Lesson, choice, class_cell, label_picture, shares_in_words, slider, tinted

FAMILY = ("fcn32s", "fcn16s", "fcn8s")  # coarsest first
TITLES = {"fcn32s": "FCN-32s", "fcn16s": "FCN-16s", "fcn8s": "FCN-8s"}


@dataclass(frozen=True)
class View:
    """One labelling of the photo, at the size (h, w) that the finest network sees.

    Attributes:
        finest: the smallest stride whose scores are in it.
        grid: (rows, columns) of those scores.
        probabilities: (K, h, w) float32.
    """

    title: Words | str
    finest: int
    grid: tuple[int, int]
    probabilities: np.ndarray

    @property
    def label_map(self) -> np.ndarray:
        return self.probabilities.argmax(axis=0).astype(np.uint8)


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], compare: str, shown: int, zoom: int) -> list[Block]:
    """Label maps, score maps with their sum, and one outline enlarged."""
    known = [name for name in FAMILY if name in list_checkpoints()]
    if not known:
        return [text(both("No FCN is installed here.", "这里没有安装 FCN。"))]
    predictor = load_predictor(known[-1])
    network, classes = predictor.network, predictor.card.classes
    assert isinstance(network, FCN)
    x, geometry = predictor.card.preprocess.apply(photo)
    height, width = geometry.network_size
    small = photo.resize((width, height), Image.Resampling.BILINEAR)
    scores = score_maps(network, x)
    fusion, parts = fuse_scores(network, scores, x), summands(network, scores, x)

    if compare == "trained":
        views = [_trained(name, photo, (height, width)) for name in known]
    else:
        views = _with_skips(scores, parts)
    class_id = _class_to_show(shown, views[-1])
    at = (int(point[0] * width), int(point[1] * height))
    edge = _nearest_outline(views[-1].probabilities[class_id], at)
    crop = _crop_around(edge or at, small.size, zoom)

    return [
        *_missing(known, compare),
        *_label_maps(small, views, classes, at, crop),
        *_finding(views, compare),
        *_sum_of_scores(TITLES[known[-1]], fusion, class_id, classes),
        _summand_table(parts, at, class_id, classes),
        *_edge_zoom(small, views, class_id, classes, edge or at, edge is not None, crop),
        *_softness(views, class_id, classes),
    ]


def _with_skips(scores: dict[int, torch.Tensor], parts: dict[int, torch.Tensor]) -> list[View]:
    """The network with none, one and all of its skips: taking one away is leaving out its summand."""
    views, logits = [], torch.zeros(())
    for stride, part in parts.items():
        logits = logits + part
        views.append(
            View(_without([s for s in parts if s < stride]), stride, _grid_of(scores[stride]), _softmax(logits))
        )
    return views


def _without(strides: list[int]) -> Words:
    layers = [f"score{stride}" for stride in strides]
    if not layers:
        return both("With all its skips", "所有跳跃连接都在")
    return both(f"Without {' and '.join(layers)}", f"去掉 {' 和 '.join(layers)}")


def _trained(name: str, photo: Image.Image, size: tuple[int, int]) -> View:
    predictor = load_predictor(name)
    network = predictor.network
    assert isinstance(network, FCN)
    x, geometry = predictor.card.preprocess.apply(photo)
    scores = score_maps(network, x)
    logits = fuse_scores(network, scores, x).logits
    same_size = predictor.card.preprocess.restore(logits, replace(geometry, photo_size=size))  # (K, h, w)
    return View(TITLES[name], network.finest_stride, _grid_of(scores[network.finest_stride]), _softmax(same_size[None]))


def _grid_of(score: torch.Tensor) -> tuple[int, int]:
    return score.shape[2], score.shape[3]


def _softmax(logits: torch.Tensor) -> np.ndarray:
    return logits[0].softmax(dim=0).contiguous().numpy()


def _class_to_show(shown: int, view: View) -> int:
    """The class asked for; else the largest besides background; else the one that comes nearest to winning a pixel."""
    if 0 <= shown < len(view.probabilities):
        return shown
    counts = np.bincount(view.label_map.ravel(), minlength=len(view.probabilities))[1:]
    return 1 + int((counts if counts.any() else view.probabilities[1:].max(axis=(1, 2))).argmax())


def _nearest_outline(probability: np.ndarray, at: tuple[int, int]) -> tuple[int, int] | None:
    """(x, y) of the class's outline nearest to `at`; None where the class has no outline."""
    y, x = np.nonzero(rim(probability >= 0.5))
    if not len(x):
        return None
    nearest = int(((x - at[0]) ** 2 + (y - at[1]) ** 2).argmin())
    return int(x[nearest]), int(y[nearest])


def _crop_around(at: tuple[int, int], size: tuple[int, int], zoom: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a square inside the picture of `size` (w, h), as near to the middle around `at` as it can."""
    side = max(8, min(size) // zoom)
    x0, y0 = (min(max(0, place - side // 2), whole - side) for place, whole in zip(at, size, strict=True))
    return x0, y0, x0 + side, y0 + side


def _named(classes: ClassSet, class_id: int) -> tuple[str, str]:
    return classes.names[class_id], classes.names_zh[class_id]


def _missing(known: list[str], compare: str) -> list[Block]:
    absent = [TITLES[name] for name in FAMILY if name not in known]
    if compare != "trained" or not absent:
        return []
    en, zh = " and ".join(absent), "、".join(absent)
    return [text(both(f"Not installed here, so not shown: {en}.", f"这里没有安装 {zh}，所以不显示。"))]


def _label_maps(
    small: Image.Image, views: list[View], classes: ClassSet, at: tuple[int, int], crop: tuple[int, int, int, int]
) -> list[Block]:
    items = [
        picture(
            small,
            both("Your photo, as the network sees it", "网络看到的你的照片"),
            note=both(
                f"{small.width} × {small.height} pixels; the square is enlarged below",
                f"{small.width} × {small.height} 像素；方框在下面放大显示",
            ),
            pick=True,
            shapes=[box(*crop), dot(*_centre(at))],
        )
    ]
    for view in views:
        note = both(
            f"Finest scores: one per {view.finest} × {view.finest} pixels",
            f"最细的得分：每 {view.finest} × {view.finest} 像素一个",
        )
        items.append(label_picture(small, view.label_map, classes, view.title, note=note))
    return [pictures(*items, title=both("Label maps", "标签图"), columns=len(items))]


def _finding(views: list[View], compare: str) -> list[Block]:
    """What fraction of this photo the coarser pictures label otherwise."""
    if len(views) == 1:
        return []
    full = views[-1].label_map
    shares = [share_text(float((view.label_map != full).mean())) for view in views[:-1]]
    titles = [view.title if isinstance(view.title, str) else view.title["en"].lower() for view in views[:-1]]
    titles_zh = [view.title if isinstance(view.title, str) else view.title["zh"] for view in views[:-1]]
    en = ", ".join(f"{title} {share}" for title, share in zip(titles, shares, strict=True))
    zh = "，".join(f"{title}：{share}" for title, share in zip(titles_zh, shares, strict=True))
    if compare == "trained":
        last = views[-1].title
        return [
            text(
                both(f"Pixels labelled otherwise than by {last}: {en}.", f"标签与 {last} 不同的像素：{zh}。"),
                finding=True,
            )
        ]
    return [text(both(f"Pixels that change their label: {en}.", f"标签改变的像素：{zh}。"), finding=True)]


def _sum_of_scores(title: str, fusion: Fusion, class_id: int, classes: ClassSet) -> list[Block]:
    en, zh = _named(classes, class_id)
    maps: list[tuple[Words, np.ndarray]] = []
    for stage in fusion.stages:
        own, total = (tensor[0, class_id].numpy() for tensor in (stage.own, stage.total))
        if stage.upsampled is None:
            maps.append((both(f"score{stage.stride}: the start", f"score{stage.stride}：起点"), own))
            continue
        before = stage.upsampled[0, class_id].numpy()
        maps += [
            (both("Upsampled 2×", "上采样 2 倍"), before),
            (both(f"+ score{stage.stride}", f"+ score{stage.stride}"), own),
            (both("= sum", "= 和"), total),
        ]
    last = fusion.stages[-1].stride
    maps.append((both(f"Upsampled {last}×: the result", f"上采样 {last} 倍：结果"), fusion.logits[0, class_id].numpy()))
    most = max(float(np.abs(values).max()) for _, values in maps)
    items = [picture(signed_picture(v, most=most), name, note=_range_of(v), pixelated=True) for name, v in maps]
    return [
        text(
            both(
                f"Below, inside {title}: the scores of the class “{en}”. score16 comes from features of "
                "stride 16. Green speaks for the class, orange against it, white is 0; one scale for all pictures.",
                f"下面是 {title} 内部“{zh}”这一类的得分。score16 由步幅为 16 的特征算出。"
                "绿色支持这一类，橙色反对，白色是 0，所有图用同一标尺。",
            )
        ),
        pictures(*items, title=both(f"Score maps of “{en}”, step by step", f"“{zh}”的得分图，一步一步"), columns=4),
    ]


def _range_of(values: np.ndarray) -> str:
    height, width = values.shape
    return f"{width} × {height}, {values.min():.1f} … {values.max():.1f}"


def _summand_table(parts: dict[int, torch.Tensor], at: tuple[int, int], class_id: int, classes: ClassSet) -> Block:
    """Scores at one pixel by stride: the winner, the runner-up, and the class shown."""
    x, y = at
    columns = {stride: part[0, :, y, x].numpy() for stride, part in parts.items()}
    sums = np.sum(list(columns.values()), axis=0)  # (K,)
    best = [int(i) for i in np.argsort(-sums)[:2]]
    rows = []
    for i in dict.fromkeys([*best, class_id]):
        name = class_cell(classes, i)
        rows.append([name, *(f"{column[i]:+.2f}" for column in columns.values()), f"{sums[i]:.2f}"])
    head = [
        both("Class", "类别"),
        *(both(f"stride {s}", f"步幅 {s}") for s in columns),
        both("sum = score", "和 = 得分"),
    ]
    return table(
        head,
        rows,
        title=both("At your point (the dot): what each stride adds", "在你点的位置（圆点）：每个步幅加了多少"),
    )


def _edge_zoom(
    small: Image.Image,
    views: list[View],
    class_id: int,
    classes: ClassSet,
    at: tuple[int, int],
    on_outline: bool,
    crop: tuple[int, int, int, int],
) -> list[Block]:
    en, zh = _named(classes, class_id)
    x0, y0, x1, y1 = crop
    centre = dot(at[0] - x0 + 0.5, at[1] - y0 + 0.5, size=7)
    drawn = [picture(small.crop(crop), both("Photo", "照片"), pixelated=True, shapes=[centre])]
    certain = [drawn[0]]
    for view in views:
        own_cell = _score_cell(view, at, (x0, y0))
        labelled = tinted(small, view.label_map, classes, opacity=0.45, crop=crop)
        inside = shares_in_words(view.label_map[y0:y1, x0:x1], classes)
        drawn.append(picture(title=view.title, alt=inside, pixelated=True, shapes=[own_cell, centre], **labelled))
        share = confidence_picture(view.probabilities[class_id, y0:y1, x0:x1])
        certain.append(picture(share, view.title, pixelated=True, shapes=[own_cell, centre]))
    across, places, here = _direction(views[-1].probabilities[class_id], at, crop)
    lines: list[tuple[Words | str, list[float | None]]] = [
        (view.title, [float(p) for p in view.probabilities[class_id][across]]) for view in views
    ]
    side = x1 - x0
    where = both(
        f"{side} × {side} pixels around the outline of “{en}” that is nearest to your point.",
        f"离你点的位置最近的“{zh}”轮廓处，{side} × {side} 像素。",
    )
    if not on_outline:
        where = both(
            f"“{en}” has no outline here: its probability passes 50 % nowhere. Shown: {side} × {side} pixels "
            "around your point.",
            f"“{zh}”在这里没有轮廓：它的概率没有在任何地方越过 50 %。显示的是你点的位置周围 {side} × {side} 像素。",
        )
    note = both(
        f"{where['en']} Dashed: the pixels that belong to one score of that picture's finest score map.",
        f"{where['zh']}虚线：该图所用的最细得分图中一个得分所对应的像素。",
    )
    return [
        pictures(*drawn, title=both("One outline, enlarged", "放大一处轮廓"), columns=len(drawn)),
        text(note),
        pictures(
            *certain,
            title=both(
                f"The same place: probability of “{en}”, dark blue 0 to yellow 1",
                f"同一处：“{zh}”的概率，深蓝为 0，黄色为 1",
            ),
            columns=len(drawn),
        ),
        chart(
            [place - here for place in places],
            lines,
            title=both(f"Across the outline: probability of “{en}”", f"横穿轮廓：“{zh}”的概率"),
            x_label=both("pixels from the dot", "离圆点的像素数"),
            y_label=both("probability", "概率"),
            y_range=(0, 1),
        ),
    ]


def _score_cell(view: View, at: tuple[int, int], corner: tuple[int, int]) -> dict[str, Any]:
    """The pixels that belong to the finest score at `at`, seen from the crop's upper left `corner`."""
    height, width = (
        side / count for side, count in zip(view.probabilities.shape[1:], view.grid, strict=True)
    )  # of one cell
    x, y = at[0] // width * width - corner[0], at[1] // height * height - corner[1]
    return box(x, y, x + width, y + height, dashed=True)


def _direction(
    probability: np.ndarray, at: tuple[int, int], crop: tuple[int, int, int, int]
) -> tuple[tuple[Any, Any], range, int]:
    """The row or the column through `at`, whichever crosses the outline: index, pixel positions, position of `at`."""
    (x, y), (x0, y0, x1, y1) = at, crop
    changes_along_row = np.ptp(probability[y, max(0, x - 4) : x + 5])
    changes_along_column = np.ptp(probability[max(0, y - 4) : y + 5, x])
    if changes_along_row >= changes_along_column:
        return (y, slice(x0, x1)), range(x0, x1), x
    return (slice(y0, y1), x), range(y0, y1), y


def _softness(views: list[View], class_id: int, classes: ClassSet) -> list[Block]:
    en, zh = _named(classes, class_id)
    finest = views[-1]
    pixels, count = finest.label_map.size, finest.grid[0] * finest.grid[1]
    why = both(
        f"Why the result stays soft: the finest label map has {pixels} pixels, but only {count} scores per class. "
        "Between two scores upsampling can only blend them, with the same kernel everywhere: it has not seen the "
        "photo. So thin parts and corners are rounded off.",
        f"为什么结果仍然模糊：最细的标签图有 {pixels} 个像素，但每一类只有 {count} 个得分。在相邻两个得分之间，"
        "上采样只能把它们混合起来，而且处处用同一个卷积核：它没有看过照片。所以细的部分和尖角都被磨圆。",
    )
    rows: list[list[Any]] = []
    for view in views:
        width = transition_width(view.probabilities[class_id])
        ramp = both("no outline", "没有轮廓") if width is None else f"{width:.1f}"
        rows.append([view.title, f"{view.grid[1]} × {view.grid[0]}", view.finest, ramp])
    head = [
        both("Network", "网络"),
        both("Scores per class", "每类的得分数"),
        both("Pixels between scores", "得分间距（像素）"),
        both("10 % to 90 %, pixels", "10 % 到 90 %，像素"),
    ]
    note = both(
        f"Last column: so many pixels would the probability of “{en}” need from 10 % to 90 %, at the slope that it has "
        "on its outline (median of the whole outline). A network that hesitates gets a large number too.",
        f"最后一列：按轮廓处的斜率，“{zh}”的概率从 10 % 升到 90 % 需要多少像素（整条轮廓的中位数）。"
        "网络犹豫时，这个数也会变大。",
    )
    return [text(why), table(head, rows, title=both("How soft is the outline?", "轮廓有多模糊？")), text(note)]


def _centre(at: tuple[int, int]) -> tuple[float, float]:
    return at[0] + 0.5, at[1] + 0.5


LARGEST = -1
LESSON = Lesson(
    key="fcn",
    title=both("FCN: from coarse to fine", "FCN：从粗到细"),
    tells=[
        both(
            "Deep in a network the picture has become small: one score for 32 × 32 pixels. Such scores know what is "
            "there, but hardly where.",
            "在网络深处，图已经变得很小：每 32 × 32 个像素只有一个得分。这样的得分知道有什么，却不太知道在哪里。",
        ),
        both(
            "FCN also computes scores from earlier, finer features and adds them: every 16 pixels, then every 8. These "
            "shortcuts are the skip connections. The name says the finest: FCN-32s has none, FCN-16s one, FCN-8s two.",
            "FCN 还用更早、更细的特征计算得分，再加上去：每 16 像素一个，然后每 8 像素一个。这些捷径就是跳跃连接。"
            "名字说的是最细的一级：FCN-32s 没有跳跃连接，FCN-16s 有一个，FCN-8s 有两个。",
        ),
        both(
            "Two questions, one switch: what does one FCN-8s lose without its skips, and how do three networks differ "
            "that were each trained that way? They are not the same: a network trained with skips relies on them.",
            "一个开关，两个问题：同一个 FCN-8s 去掉跳跃连接会失去什么？三个分别训练的网络有什么不同？"
            "这两者不一样：带着跳跃连接训练的网络会依赖它们。",
        ),
    ],
    do=both("Click near an outline of the object, then enlarge it.", "点一下物体轮廓附近的位置，再放大。"),
    notice=both(
        "With every skip the outline comes nearer to the object. But even FCN-8s draws it with a soft brush: look at "
        "thin legs, ears and corners.",
        "每加一个跳跃连接，轮廓就更贴近物体。但 FCN-8s 的轮廓仍像用软笔画的：看看细腿、耳朵和尖角。",
    ),
    paper=both(
        "Long, Shelhamer, Darrell, CVPR 2015: sections 3.3 (upsampling) and 4.2 (adding finer scores), figures 3 and 4",
        "Long, Shelhamer, Darrell，CVPR 2015：第 3.3 节（上采样）和第 4.2 节（加上更细的得分），图 3 和图 4",
    ),
    controls=[
        choice(
            "compare",
            both("Compare", "比较"),
            [
                (both("one FCN-8s, its skips taken away", "同一个 FCN-8s，去掉跳跃连接"), "skips"),
                (both("FCN-32s, FCN-16s, FCN-8s, each trained", "FCN-32s、FCN-16s、FCN-8s，分别训练"), "trained"),
            ],
        ),
        Control(
            "shown",
            gr.Dropdown,
            both("Score maps of", "看哪一类的得分图"),
            {"value": LARGEST},
            [
                (both("the largest object", "最大的物体"), LARGEST),
                *((both(*_named(VOC, i)), i) for i in range(len(VOC))),
            ],
        ),
        slider("zoom", both("Enlarge the outline", "放大轮廓"), 2, 12, step=1, value=5),
    ],
    answer=answer,
)

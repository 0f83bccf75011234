"""Lesson: robustness. The same photo, ever more disturbed, and how long the networks stay with their answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from seg import Predictor, load_predictor
from seg.classes import ClassSet
from seg.explain.robustness import agreement, disturb
from seg.explain.truth import nearest
from seg.ui.board import Block, Words, both, chart, picture, pictures, text
from seg.ui.lessons._lesson import Lesson, choice, label_picture, networks, slider
from seg.ui.lessons.truth import label_of

STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WITH_LABEL = {
    True: both("The last curves compare with your label.", "最后一组曲线与你的标签比较。"),
    False: both(
        "With a label in the lesson Ground truth, curves against it are drawn too.",
        "如果在“真值标签”一课中给出标签，这里还会画出与它比较的曲线。",
    ),
}
MAX_SIDE = 500  # long side of the photo this lesson works on: it asks every network six times


def answer(
    *,
    photo: Image.Image,
    point: tuple[float, float],
    names: list[str],
    kind: str,
    strength: float,
    truth: dict[str, Any] | None = None,
) -> list[Block]:
    """Agreement with the clean answer over the strength, with the truth if there is one; pictures at one strength."""
    predictors = [load_predictor(name) for name in names]
    if not predictors:
        return [text(both("Choose at least one network.", "请至少选择一个网络。"))]
    small = photo.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    versions = [disturb(small, kind, step) for step in STEPS]
    target = _truth(photo, small, truth, predictors[0].card.classes)
    same, mious, scores = [], [], []
    for predictor in predictors:
        title = predictor.card.title
        found = [version.back(predictor.predict(version.photo).label_map) for version in versions]
        pairs = [agreement(found[0], ids, num_classes=_classes(predictor)) for ids in found]  # the first is clean
        same.append((title, [100 * share for share, _ in pairs]))
        mious.append((title, [_known(miou) for _, miou in pairs]))
        if target is not None:
            pairs = [agreement(target, ids, num_classes=_classes(predictor)) for ids in found]
            scores.append((title, [_known(miou) for _, miou in pairs]))
    amounts = [version.amount for version in versions]
    return [
        *_shown(small, predictors, kind, strength),
        chart(
            STEPS,
            same,
            title=both("Pixels that keep their label, percent", "标签不变的像素（百分比）"),
            x_label=both("strength", "强度"),
            y_label=both("percent of the pixels that can be compared", "占可比较像素的百分比"),
            x_names=amounts,
        ),
        _mious(mious, both("mIoU against the clean answer", "与原答案相比的 mIoU"), amounts),
        *([_mious(scores, both("mIoU against your label", "与你的标签相比的 mIoU"), amounts)] if scores else []),
        text(
            both(
                "The clean answer is the network's own, not the truth: a network may be steady and wrong. "
                f"{WITH_LABEL[bool(scores)]['en']} For size and rotation the labels are brought back to the clean "
                "photo's grid first, each pixel taking the nearest label; what lies outside is left out.",
                "原答案是网络自己对原照片的答案，而不是真值：网络可能很稳定，却是错的。"
                f"{WITH_LABEL[bool(scores)]['zh']}"
                "对于缩小和旋转，先把标签带回原照片的网格（取最近的标签），落在外面的不计。",
            )
        ),
    ]


def _shown(small: Image.Image, predictors: list[Predictor], kind: str, strength: float) -> list[Block]:
    version = disturb(small, kind, strength)
    items = [picture(version.photo, both("The disturbed photo", "被干扰的照片"), note=version.amount)]
    for predictor in predictors:
        result = predictor.predict(version.photo)
        items.append(label_picture(version.photo, result.label_map, result.class_set, predictor.card.title))
    return [pictures(*items, columns=4)]


def _mious(lines: list[tuple[str, list[float | None]]], title: Words, amounts: list[str]) -> Block:
    return chart(
        STEPS,
        lines,
        title=title,
        x_label=both("strength", "强度"),
        y_label="mIoU",
        y_range=(0, 1),
        x_names=amounts,
    )


def _truth(
    photo: Image.Image, small: Image.Image, given: dict[str, Any] | None, classes: ClassSet
) -> np.ndarray | None:
    """The label that the lesson Ground truth has for the photo, at the small photo's size."""
    if given is None:
        return None
    label = label_of(photo, given["source"], given["label"], given["painted"], classes)
    return None if label is None else nearest(label, (small.height, small.width))


def _known(miou: float) -> float | None:
    return None if math.isnan(miou) else miou


def _classes(predictor: Predictor) -> int:
    return len(predictor.card.classes)


LESSON = Lesson(
    key="robustness",
    title=both("Robustness", "鲁棒性"),
    tells=[
        both(
            "Photos are blurred, noisy, compressed, too dark or too bright, small or tilted. When our networks learned "
            "to segment, the photos were resized, cropped, mirrored and changed in brightness, contrast and "
            "saturation, and most networks also saw a piece of one photo pasted into another; none was blurred, made "
            "noisy or tilted. How far can a photo be disturbed before the networks change their mind, and does the "
            "architecture matter?",
            "照片会模糊、有噪点、被压缩、过暗、过亮、很小或歪斜。我们的网络学习分割时，照片做了缩放、裁剪、左右翻转，"
            "以及亮度、对比度和饱和度的变化；多数网络还见过把一张照片的一块贴到另一张里。从不加模糊、噪点或倾斜。"
            "照片被干扰到什么程度，网络才会改变看法？结构有影响吗？",
        ),
    ],
    do=both(
        "Choose a disturbance and move the strength until a network loses the object.",
        "选一种干扰，调大强度，直到某个网络认不出物体。",
    ),
    notice=both(
        "Which curve falls first? Does the object shrink, or does it get another name?",
        "哪条曲线先下降？物体是变小了，还是换了名字？",
    ),
    paper=both(
        "The papers on FCN, U-Net and DeepLabV3 do not measure it. Hendrycks and Dietterich, ICLR 2019, made such "
        "tests common, for image classification",
        "FCN、U-Net 和 DeepLabV3 的论文都没有测量。Hendrycks 和 Dietterich（ICLR 2019）"
        "使这类测试普及开来（针对图像分类）",
    ),
    controls=[
        networks(),
        choice(
            "kind",
            both("Disturbance", "干扰"),
            [
                (both("blur", "模糊"), "blur"),
                (both("noise", "噪声"), "noise"),
                (both("JPEG", "JPEG 压缩"), "jpeg"),
                (both("darkness", "变暗"), "dark"),
                (both("brightness", "变亮"), "bright"),
                (both("smaller size", "缩小"), "size"),
                (both("rotation", "旋转"), "turn"),
            ],
        ),
        slider("strength", both("Strength in the pictures", "所示图片的干扰强度"), 0.0, 1.0, step=0.1, value=0.4),
    ],
    answer=answer,
    with_truth=True,
)

"""Lesson: DeepLab v1, v2 and v3 on one photo, and the CRF that the first two need."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from seg import list_checkpoints, load_predictor
from seg.explain.crf import CrfSettings, dense_crf_steps
from seg.render import changed_picture, overlay, share_text
from seg.ui.board import Block, Words, both, chart, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, choice, slider
from seg.ui.networks import comparable, load_title

FAMILY = {"deeplabv1": "DeepLab v1", "deeplabv2": "DeepLab v2", "deeplabv3": "DeepLabV3"}
WHAT: dict[str, Words] = {
    "deeplabv1": both("one atrous 3 × 3 (LargeFOV), then a CRF", "一个空洞 3 × 3（LargeFOV），再加 CRF"),
    "deeplabv2": both("four atrous branches, scores summed, then a CRF", "四个空洞分支，得分相加，再加 CRF"),
    "deeplabv3": both(
        "1 × 1, three atrous 3 × 3 and image pooling, joined; no CRF",
        "1 × 1、三个空洞 3 × 3 和全局池化，拼接；没有 CRF",
    ),
}
CRF_SIDE = 288  # long side of the photo that the CRF of this lesson sees: ten iterations stay below two seconds


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], network: str, iterations: int) -> list[Block]:
    """The three versions side by side, and mean field at work on one network's answer."""
    return [*_versions(photo), *_crf(photo, network, iterations)]


def _versions(photo: Image.Image) -> list[Block]:
    known = [name for name in FAMILY if name in list_checkpoints()]
    missing = [FAMILY[name] for name in FAMILY if name not in known]
    blocks: list[Block] = []
    if known:
        items, rows = [], []
        for name in known:
            predictor = load_predictor(name)
            result = predictor.predict(photo)
            items.append(picture(overlay(photo, result.label_map, predictor.card.classes), FAMILY[name]))
            miou = predictor.card.metrics.get("miou")
            crf = predictor.card.metrics.get("with", {}).get("CRF", {}).get("miou")
            rows.append(
                [
                    FAMILY[name],
                    WHAT[name],
                    "–" if miou is None else f"{miou:.3f}",
                    "–" if crf is None else f"{crf:.3f}",
                    f"{predictor.card.macs / 1e9:.1f} G",
                ]
            )
        head: list[Words | str] = [
            both("Version", "版本"),
            both("after the encoder", "编码器之后"),
            "mIoU",
            both("mIoU with CRF", "加 CRF 后的 mIoU"),
            both("multiply-adds", "乘加运算"),
        ]
        blocks += [pictures(*items, title=both("The three versions, without a CRF", "三个版本，不加 CRF"))]
        blocks += [table(head, rows)]
    if missing:
        en, zh = " and ".join(missing), "、".join(missing)
        blocks.append(text(both(f"Not installed here, so not shown: {en}.", f"这里没有安装 {zh}，所以不显示。")))
    return blocks


def _crf(photo: Image.Image, name: str, iterations: int) -> list[Block]:
    predictor = load_predictor(name)
    classes, title = predictor.card.classes, predictor.card.title
    small = photo.copy()
    small.thumbnail((CRF_SIDE, CRF_SIDE), Image.Resampling.LANCZOS)
    x, geometry = predictor.card.preprocess.apply(photo)
    size = (small.height, small.width)
    same_size = type(geometry)(photo_size=size, network_size=geometry.network_size)
    probabilities = predictor.card.preprocess.restore(predictor.logits(x), same_size).softmax(dim=0).numpy()
    settings = CrfSettings(iterations=iterations)
    maps = [q.argmax(axis=0).astype(np.uint8) for q in dense_crf_steps(np.asarray(small), probabilities, settings)]
    before, after = maps[0], maps[-1]
    moved = [float((ids != before).mean()) for ids in maps]
    finding = both(
        f"After {iterations} iterations {share_text(moved[-1])} of the pixels have another label than {title} gave "
        f"them.",
        f"{iterations} 次迭代后，{share_text(moved[-1])} 的像素与 {title} 给的标签不同。",
    )
    blocks = [
        pictures(
            picture(overlay(small, before, classes), title),
            picture(overlay(small, after, classes), both("after the CRF", "CRF 之后")),
            picture(changed_picture(small, before != after), both("What changed (red)", "改变之处（红色）")),
            title=both("The fully connected CRF", "全连接 CRF"),
        ),
        text(finding, finding=True),
    ]
    if iterations:
        blocks.append(
            chart(
                range(len(moved)),
                [(title, [100 * share for share in moved])],
                title=both("Pixels with another label", "换了标签的像素"),
                x_label=both("iterations", "迭代次数"),
                y_label=both("percent of the photo", "占照片的百分比"),
            )
        )
    return blocks


def _networks() -> list[tuple[Words | str, str]]:
    names = comparable()
    first = [name for name in FAMILY if name in names]
    return [(load_title(name), name) for name in [*first, *(n for n in names if n not in first)]]


def _needs_crf() -> str | None:
    """A network that the paper sharpens with a CRF, if one is here."""
    return next((name for name in ("deeplabv1", "deeplabv2") if name in comparable()), None)


LESSON = Lesson(
    key="family",
    title=both("DeepLab v1, v2, v3 and the CRF", "DeepLab v1、v2、v3 与 CRF"),
    tells=[
        both(
            "v1 and v2 end in coarse scores, so they let a second model repair the outlines: a fully connected CRF. In "
            "it every pixel talks to every other one. Pixels that lie close together and have the same colour want the "
            "same label. Mean field lets them talk for a few rounds.",
            "v1 和 v2 的得分比较粗，所以让另一个模型来修补轮廓：全连接 CRF。其中每个像素都与所有其他像素对话，"
            "位置近、颜色像的像素希望标签相同。平均场算法让它们对话几轮。",
        ),
        both(
            "v3 has no CRF. Its authors report better results without one: the better ASPP, with BatchNorm and image "
            "pooling, is trained as one network from photo to scores.",
            "v3 没有 CRF。作者报告说，不用它结果反而更好：改进的 ASPP 带有 BatchNorm 和全局池化，"
            "从照片到得分是一个整体训练的网络。",
        ),
    ],
    do=both(
        "Move the iterations from 0 to 10. Then let the CRF sharpen another network.",
        "把迭代次数从 0 调到 10。然后让 CRF 修补另一个网络。",
    ),
    notice=both(
        "Outlines move onto edges of the photo. But the CRF knows only colour and place: where a thing has the colour "
        "of what stands behind it, it may eat into it.",
        "轮廓会移到照片的边缘上。但 CRF 只懂颜色和位置：物体与背景颜色相近时，它可能把物体吃掉一块。",
    ),
    paper=both(
        "Chen et al.: v1 ICLR 2015, v2 2016, v3 2017. CRF: Krähenbühl and Koltun, NIPS 2011",
        "Chen 等：v1 ICLR 2015，v2 2016，v3 2017。CRF：Krähenbühl 和 Koltun，NIPS 2011",
    ),
    controls=[
        choice("network", both("The CRF sharpens", "CRF 修补谁的结果"), _networks(), value=_needs_crf()),
        slider("iterations", both("Iterations of the CRF", "CRF 迭代次数"), 0, 10, step=1, value=5),
    ],
    answer=answer,
)

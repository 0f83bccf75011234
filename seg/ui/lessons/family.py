"""Lesson: DeepLab v1, v2 and v3 on one photo, and the CRF that the first two need."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from seg import Predictor, list_checkpoints, load_predictor
from seg.classes import ClassSet
from seg.explain.crf import CrfSettings, colour_steps, dense_crf_steps
from seg.render import changed_picture, share_text
from seg.ui.board import Block, Words, both, chart, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, at_most, choice, class_cell, label_picture, slider
from seg.ui.networks import comparable, load_title

FAMILY = {"deeplabv1": "DeepLab v1", "deeplabv2": "DeepLab v2", "deeplabv3": "DeepLabV3"}
WHAT: dict[str, Words] = {
    "deeplabv1": both("one atrous 3 × 3 (LargeFOV), then a CRF", "一个空洞 3 × 3（LargeFOV），再加 CRF"),
    "deeplabv2": both("several atrous branches, scores summed, then a CRF", "几个空洞分支，得分相加，再加 CRF"),
    "deeplabv3": both(
        "1 × 1, three atrous 3 × 3 and image pooling, joined; no CRF",
        "1 × 1、三个空洞 3 × 3 和全局池化，拼接；没有 CRF",
    ),
}
PAPER_STRIDE = {"deeplabv1": 8, "deeplabv2": 8, "deeplabv3": 16}  # also what the builders take when a card is silent
CRF_SIDE = 288  # long side of the photo that the CRF of this lesson sees: ten iterations stay below two seconds


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], network: str, iterations: int) -> list[Block]:
    """The versions side by side, and mean field at work on one network's answer."""
    family = [name for name in FAMILY if name in list_checkpoints()]
    predictors = {name: load_predictor(name) for name in dict.fromkeys([*family, network])}
    logits = {name: p.logits(p.card.preprocess.apply(photo)[0]) for name, p in predictors.items()}
    return [
        *_versions(photo, {name: predictors[name] for name in family}, logits),
        *_crf(photo, predictors[network], logits[network], iterations),
    ]


def _versions(photo: Image.Image, family: dict[str, Predictor], logits: dict[str, torch.Tensor]) -> list[Block]:
    blocks: list[Block] = []
    items, rows = [], []
    for name, predictor in family.items():
        preprocess, metrics = predictor.card.preprocess, predictor.card.metrics
        small, geometry = at_most(photo, preprocess.apply(photo)[1])
        label_map = preprocess.restore_labels(logits[name], geometry)[0]
        items.append(label_picture(small, label_map, predictor.card.classes, FAMILY[name]))
        with_crf = metrics.get("with", {}).get("CRF", {})
        macs = f"{predictor.card.macs / 1e9:.1f} G"
        rows.append([FAMILY[name], _miou(metrics), _miou(with_crf), macs, str(_stride(predictor)), WHAT[name]])
    if items:
        head: list[Words | str] = [
            both("Version", "版本"),
            "mIoU",
            both("mIoU with CRF", "加 CRF 后的 mIoU"),
            both("multiply-adds", "乘加运算"),
            both("output stride", "输出步幅"),
            both("after the encoder", "编码器之后"),
        ]
        blocks.append(pictures(*items, title=both("The versions, without a CRF", "各个版本，不加 CRF")))
        blocks.append(table(head, rows))
        blocks.append(text(NOT_MEASURED))
        coarser = [name for name in ("deeplabv1", "deeplabv2") if name in family and _stride(family[name]) > 8]
        if coarser:
            rates = {FAMILY[name]: _rates(family[name]) for name in coarser}
            en = "; ".join(f"{title} with {', '.join(of_it)}" for title, of_it in rates.items())
            zh = "；".join(f"{title} 为 {'、'.join(of_it)}" for title, of_it in rates.items())
            words = both(
                "In the papers v1 and v2 work at output stride 8, v1 with rate 12, v2 with rates 6, 12, 18 and 24. "
                f"Ours were trained at a larger stride, which takes less time, and with other rates: {en}.",
                "论文中 v1 和 v2 的输出步幅是 8，v1 的扩张率是 12，v2 的是 6、12、18、24。"
                f"我们的网络用更大的步幅训练，这样更省时间，扩张率也不同：{zh}。",
            )
            blocks.append(text(words))
        if "deeplabv1" in family or "deeplabv2" in family:
            blocks.append(text(BATCHNORM))
    missing = [title for name, title in FAMILY.items() if name not in family]
    if missing:
        en, zh = " and ".join(missing), "、".join(missing)
        blocks.append(text(both(f"Not installed here, so not shown: {en}.", f"这里没有安装 {zh}，所以不显示。")))
    return blocks


def _rates(predictor: Predictor) -> list[str]:
    """Of its head's 3 × 3 kernels: one in v1, one per branch in v2."""
    _, head = list(predictor.network.named_children())[-1]
    convs = [module for module in head.modules() if isinstance(module, torch.nn.Conv2d)]
    return [str(conv.dilation[0]) for conv in convs if conv.kernel_size == (3, 3)]


def _stride(predictor: Predictor) -> int:
    return int(predictor.card.model_options.get("output_stride", PAPER_STRIDE[predictor.card.model]))


def _miou(metrics: dict) -> str:
    return f"{metrics['miou']:.3f}" if "miou" in metrics else "–"


BATCHNORM = both(
    "The heads of our v1 and v2 have BatchNorm, which in the papers came in with v3.",
    "我们的 v1 和 v2 的头部也有 BatchNorm，而论文中到 v3 才加入。",
)
NOT_MEASURED = both(
    "mIoU is from the networks' cards (tab “Scores”), not from this photo. – means: not measured.",
    "mIoU 来自各网络的卡片（见“成绩”页），不是这张照片的。– 表示没有测量。",
)


def _crf(photo: Image.Image, predictor: Predictor, logits: torch.Tensor, iterations: int) -> list[Block]:
    card = predictor.card
    small, geometry = at_most(photo, card.preprocess.apply(photo)[1], CRF_SIDE)
    probabilities = card.preprocess.restore(logits, geometry).softmax(dim=0).numpy()
    steps = dense_crf_steps(np.asarray(small), probabilities, CrfSettings(iterations=iterations))
    maps = [q.argmax(axis=0).astype(np.uint8) for q in steps]
    before, after = maps[0], maps[-1]
    blocks = [
        pictures(
            label_picture(small, before, card.classes, card.title),
            label_picture(
                small,
                after,
                card.classes,
                both(f"after {iterations} iterations of the CRF", f"CRF 迭代 {iterations} 次之后"),
            ),
            picture(changed_picture(small, before != after), both("What changed (red)", "改变之处（红色）")),
            title=both(
                f"The fully connected CRF, on the photo at {small.width} × {small.height} pixels",
                f"全连接 CRF，照片为 {small.width} × {small.height} 像素",
            ),
        ),
        *_findings(np.asarray(small), before, after, card.title, iterations),
    ]
    if iterations:
        blocks += [_shares(before, after, card.classes), _moved(maps, card.title)]
    return blocks


def _findings(photo: np.ndarray, before: np.ndarray, after: np.ndarray, title: str, iterations: int) -> list[Block]:
    if not iterations:
        words = both("No iteration: nothing changes. Move the slider.", "迭代 0 次：什么也没变。请移动滑块。")
        return [text(words, finding=True)]
    moved = share_text(float((before != after).mean()))
    en = f"The CRF gives {moved} of the pixels another label than {title}. "
    zh = f"CRF 让 {moved} 的像素得到与 {title} 不同的标签。"
    (first, every), (then, _) = colour_steps(photo, before), colour_steps(photo, after)
    if not math.isnan(first) and not math.isnan(then):
        en += (
            f"Where two labels meet, the photo's colour steps by {first:.0f} on average before and {then:.0f} after; "
            f"between any two neighbours by {every:.0f}."
        )
        zh += (
            f"在两种标签相接处，照片颜色的平均跳变之前是 {first:.0f}，之后是 {then:.0f}；"
            f"任意两个相邻像素之间是 {every:.0f}。"
        )
    return [text(both(en, zh), finding=True), text(COLOUR_STEP)]


COLOUR_STEP = both(
    "A colour step is the distance of two colours in red, green and blue, each 0 to 255. Outlines that lie on edges in "
    "the photo, where its colours change, have a large one. It does not tell whether a label is right.",
    "颜色跳变是两种颜色在红、绿、蓝（各 0 到 255）中的距离。落在图像边缘（照片里颜色突变处）上的轮廓，跳变就大。"
    "它并不能说明标签对不对。",
)


def _shares(before: np.ndarray, after: np.ndarray, classes: ClassSet) -> Block:
    """Share of the photo per class, before and after."""
    first, then = (np.bincount(ids.ravel(), minlength=len(classes)) / ids.size for ids in (before, after))
    rows = [
        [
            class_cell(classes, int(i)),
            share_text(float(first[i])),
            share_text(float(then[i])),
        ]
        for i in np.argsort(-np.maximum(first, then))
        if first[i] or then[i]
    ]
    head = [both("Share of the photo", "占照片的比例"), both("before", "之前"), both("after", "之后")]
    return table(head, rows)


def _moved(maps: Sequence[np.ndarray], title: str) -> Block:
    return chart(
        range(len(maps)),
        [(title, [100 * float((ids != maps[0]).mean()) for ids in maps])],
        title=both("Pixels with another label", "换了标签的像素"),
        x_label=both("iterations", "迭代次数"),
        y_label=both("percent of the photo", "占照片的百分比"),
    )


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
            "v3 leaves the CRF out. Its authors report that without it v3 is clearly better than their earlier "
            "versions. ASPP has changed: BatchNorm, a 1 × 1 branch and image pooling came in, and the branches are "
            "joined and mixed instead of summed.",
            "v3 不再使用 CRF。作者报告说，v3 不用它也明显好于之前的版本。"
            "ASPP 变了：加入了 BatchNorm、1 × 1 分支和全局池化，"
            "各分支拼接后再混合，而不是相加。",
        ),
    ],
    do=both(
        "Move the iterations from 0 to 10. Then let the CRF sharpen another network.",
        "把迭代次数从 0 调到 10。然后让 CRF 修补另一个网络的结果。",
    ),
    notice=both(
        "Do outlines move onto edges in the photo, where its colours change? The numbers under the pictures tell. But "
        "the CRF knows only the network's scores, colour and place: where a thing has the colour of what stands behind "
        "it, the CRF may eat into the thing.",
        "轮廓移到图像边缘（照片里颜色突变处）上了吗？看图片下面的数字。但 CRF 只知道网络的得分、颜色和位置："
        "物体与背景颜色相近时，它可能把物体吃掉一块。",
    ),
    paper=both(
        "Chen et al.: v1 ICLR 2015, section 4.2 (the CRF); v2 2016; v3 2017, section 3.3 (ASPP). CRF: Krähenbühl and "
        "Koltun, NIPS 2011",
        "Chen 等：v1 ICLR 2015，第 4.2 节（CRF）；v2 2016；v3 2017，第 3.3 节（ASPP）。"
        "CRF：Krähenbühl 和 Koltun，NIPS 2011",
    ),
    controls=[
        choice("network", both("The CRF sharpens", "CRF 修补谁的结果"), _networks(), value=_needs_crf()),
        slider("iterations", both("Iterations of the CRF", "CRF 迭代次数"), 0, 10, step=1, value=5),
    ],
    answer=answer,
)

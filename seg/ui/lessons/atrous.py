"""Lesson: atrous convolution. Where a kernel with holes looks, what gridding is, and one network at three strides."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import torch
from PIL import Image

from seg import Predictor, list_checkpoints
from seg.checkpoint import count_macs, load_checkpoint
from seg.explain.deeplab import at_output_stride, branch_names, coverage, taps
from seg.models.deeplab import DeepLabV3
from seg.render import overlay, share_text, signed_picture
from seg.ui.board import Block, Words, both, cell, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, choice, slider

STRIDES = (8, 16, 32)
NAME = "deeplabv3"


def answer(*, photo: Image.Image, point: tuple[float, float], rate: int, stride: int) -> list[Block]:
    """Taps on the photo, coverage of three layers, and DeepLabV3 at three output strides."""
    if NAME not in list_checkpoints():
        return [text(both("No DeepLabV3 is installed here.", "这里没有安装 DeepLabV3。"))]
    return [*_taps(photo, point, rate, stride), *_gridding(rate), *_strides(photo)]


def _taps(photo: Image.Image, point: tuple[float, float], rate: int, stride: int) -> list[Block]:
    """The nine places where a 3x3 kernel looks, in photo pixels."""
    height, width = at_stride(16).card.preprocess.network_size((photo.height, photo.width))
    step_x, step_y = rate * stride * photo.width / width, rate * stride * photo.height / height
    x, y = point[0] * photo.width, point[1] * photo.height
    places = [(x + i / rate * step_x, y + j / rate * step_y) for i, j in taps(rate)]
    seen = [(a, b) for a, b in places if 0 <= a < photo.width and 0 <= b < photo.height]
    shapes = [dot(a, b, colour="#ffd400") for a, b in seen]
    words = both(
        f"Nine taps, {step_x:.0f} photo pixels apart: rate {rate} × output stride {stride}, at the photo's scale. "
        f"{9 - len(seen)} of them fall outside the photo and see only padding.",
        f"九个采样点，相距 {step_x:.0f} 个照片像素：扩张率 {rate} × 输出步幅 {stride}，再按照片比例放大。"
        f"其中 {9 - len(seen)} 个落在照片外，只看到填充的零。",
    )
    title = both("Where one 3 × 3 kernel looks: click on the photo", "一个 3 × 3 卷积核看哪里：点一下照片")
    return [pictures(picture(photo, title, pick=True, shapes=shapes), columns=2), text(words, finding=True)]


def _gridding(rate: int) -> list[Block]:
    stacks = [[rate] * 3, [1, 2, 3]] if rate != 1 else [[1] * 3, [1, 2, 3]]
    items = []
    for rates in stacks:
        ways = coverage(rates)
        holes = float((ways == 0).mean())
        listed = ", ".join(map(str, rates))
        note = both(
            f"{len(ways)} × {len(ways)} positions; {share_text(holes)} of them are never looked at",
            f"{len(ways)} × {len(ways)} 个位置，其中 {share_text(holes)} 从来没有被看到",
        )
        shown = signed_picture(np.log1p(ways.astype(np.float64)))
        items.append(picture(shown, both(f"Rates {listed}", f"扩张率 {listed}"), note=note, pixelated=True))
    return [
        pictures(
            *items,
            title=both(
                "Three layers, one after the other: which positions reach one output?",
                "连续三层：哪些位置能到达一个输出？",
            ),
            columns=3,
        ),
        text(
            both(
                "Green: looked at, the darker the more often. White: a hole. Layers of the same rate never fill each "
                "other's holes (gridding); growing rates do.",
                "绿色：被看到，越深次数越多。白色：空洞。相同扩张率的层永远补不上彼此的空洞（网格效应），"
                "逐层增大的扩张率可以。",
            )
        ),
    ]


def _strides(photo: Image.Image) -> list[Block]:
    """DeepLabV3's own weights at three output strides: masks, time, work."""
    items, maps = [], {}
    rows: list[tuple[Words, str, int]] = []
    for stride in STRIDES:
        predictor = at_stride(stride)
        began = time.perf_counter()
        result = predictor.predict(photo)
        seconds = time.perf_counter() - began
        maps[stride] = result.label_map
        height, width = result.network_size
        network = predictor.network
        assert isinstance(network, DeepLabV3)
        rates = ", ".join(str(rate) for kind, rate in branch_names(network) if kind == "atrous")
        title = both(f"Output stride {stride}", f"输出步幅 {stride}")
        note = both(
            f"{width // stride} × {height // stride} positions, rates {rates}",
            f"{width // stride} × {height // stride} 个位置，扩张率 {rates}",
        )
        items.append(picture(overlay(photo, result.label_map, predictor.card.classes), title, note=note))
        rows.append((title, f"{1000 * seconds:.0f} ms", macs_at(stride, (height, width))))
    most = max(row[2] for row in rows)
    table_rows = [
        [title, ms, cell(f"{macs / 1e9:.1f} G", bar=macs / most), share_text(float((maps[16] != maps[s]).mean()))]
        for (title, ms, macs), s in zip(rows, STRIDES, strict=True)
    ]
    head = [
        both("The same weights at", "同一组权重"),
        both("time here, once", "本机用时（一次）"),
        both("multiply-adds", "乘加运算"),
        both("pixels unlike at 16", "与 16 不同的像素"),
    ]
    return [
        pictures(
            *items,
            title=both("DeepLabV3 at three output strides, not trained anew", "三种输出步幅的 DeepLabV3，没有重新训练"),
            columns=3,
        ),
        table(head, table_rows),
    ]


@cache
def at_stride(stride: int) -> Predictor:
    """DeepLabV3's weights at another output stride; made once."""
    with torch.inference_mode(False):
        model, card = load_checkpoint(NAME)
        assert isinstance(model, DeepLabV3)
        options = {"output_stride": 16, "atrous_rates": (6, 12, 18), **card.model_options}
        return Predictor(at_output_stride(model, stride, num_classes=len(card.classes), options=options), card)


@cache
def macs_at(stride: int, size: tuple[int, int]) -> int:
    """Multiply-adds for a network input of this size; there are few sizes, for both sides are multiples of 32."""
    return count_macs(at_stride(stride).network, size)


LESSON = Lesson(
    key="atrous",
    title=both("DeepLab: atrous convolution", "DeepLab：空洞卷积"),
    tells=[
        both(
            "A classification network shrinks the picture 32 times. For one label that is fine; for a label per pixel "
            "it throws the places away. DeepLab leaves out the last shrinking steps. But then the kernels after them "
            "would see less of the picture.",
            "分类网络把图缩小 32 倍。只要一个标签时没问题，要给每个像素一个标签，就把位置丢掉了。"
            "DeepLab 去掉最后几次缩小，但这样一来，后面的卷积核看到的范围就变小了。",
        ),
        both(
            "So it spreads the kernels: with rate r, the taps of a 3 × 3 kernel are r positions apart, and there are "
            "still only nine. The weights fit as they are. À trous is French for with holes.",
            "于是把卷积核撑开：扩张率为 r 时，3 × 3 卷积核的采样点相隔 r 个位置，而采样点仍然只有九个，"
            "权重原样可用。à trous 是法语“带洞的”。",
        ),
    ],
    do=both(
        "Click on the photo and move the rate. Then compare the three output strides below.",
        "点一下照片，再调扩张率。然后比较下面三种输出步幅。",
    ),
    notice=both(
        "With a large rate most taps leave the photo, and the kernel becomes a 1 × 1 one. A smaller output stride "
        "draws finer outlines, and costs more.",
        "扩张率很大时，多数采样点落到照片外，卷积核就退化成 1 × 1。输出步幅越小，轮廓越细，代价也越大。",
    ),
    paper=both(
        "Chen et al. 2017 (DeepLabV3), sections 3.1 and 3.3. Gridding: Wang et al., WACV 2018",
        "Chen 等，2017（DeepLabV3），第 3.1 和 3.3 节。网格效应：Wang 等，WACV 2018",
    ),
    controls=[
        slider("rate", both("Rate", "扩张率"), 1, 24, step=1, value=4),
        choice(
            "stride",
            both("Output stride of the taps", "采样点所在的输出步幅"),
            [(f"{stride}", stride) for stride in STRIDES],
            value=16,
        ),
    ],
    answer=answer,
)

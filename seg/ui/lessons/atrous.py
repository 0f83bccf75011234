"""Lesson: atrous convolution. Where a kernel with holes looks, what gridding is, and one network at three strides."""

from __future__ import annotations

import copy
import math
import time
from functools import cache

import numpy as np
import torch
from PIL import Image

from seg import Predictor, list_checkpoints, load_predictor
from seg.card import load_card
from seg.checkpoint import card_path, count_macs, load_checkpoint
from seg.explain.deeplab import (
    SharedGrid,
    at_output_stride,
    branch_names,
    coverage,
    decode,
    encode,
    shared_grid,
    taps,
)
from seg.models.deeplab import DeepLabV3
from seg.render import share_text, signed_picture
from seg.ui.board import Block, Words, both, cell, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, at_most, choice, label_picture, slider
from seg.ui.lessons.aspp import PAPER, rates_note

STRIDES = (8, 16, 32)
TRAINED = 16  # output stride of the paper's network and of ours, unless its card says otherwise
NAME = "deeplabv3"


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], rate: int, stride: int) -> list[Block]:
    """Taps on the photo, coverage of three layers, and DeepLabV3 at three output strides."""
    if NAME not in list_checkpoints():
        return [*_gridding(rate), text(both("No DeepLabV3 is installed here.", "这里没有安装 DeepLabV3。"))]
    return [*_taps(photo, point, rate, stride), *_gridding(rate), *_strides(photo)]


def _taps(photo: Image.Image, point: tuple[float, float], rate: int, stride: int) -> list[Block]:
    """The nine places where a 3x3 kernel looks, in photo pixels."""
    height, width = load_predictor(NAME).card.preprocess.network_size((photo.height, photo.width))
    across, down = stride * photo.width / width, stride * photo.height / height  # photo pixels per feature
    x, y = point[0] * photo.width, point[1] * photo.height
    places = [(x + i * across, y + j * down) for i, j in taps(rate)]
    seen = [(a, b) for a, b in places if 0 <= a < photo.width and 0 <= b < photo.height]
    shapes = [dot(a, b, colour="#ffd400") for a, b in seen]
    en = (
        f"Nine taps, {rate * across:.0f} photo pixels apart from left to right and {rate * down:.0f} from top to "
        f"bottom: rate {rate} × output stride {stride}, at the photo's scale. "
    )
    zh = (
        f"九个采样点，左右相距 {rate * across:.0f} 个照片像素，上下相距 {rate * down:.0f} 个："
        f"扩张率 {rate} × 输出步幅 {stride}，再按照片比例换算。"
    )
    outside = len(places) - len(seen)
    if len(seen) == 1:
        en += "Only the middle one lies on the photo: here the kernel does no more than a 1 × 1 one."
        zh += "只有中间一个落在照片上：在这里，它只相当于 1 × 1 卷积核。"
    elif outside:
        en += f"{outside} of them fall outside the photo and see only the zeros of the padding."
        zh += f"其中 {outside} 个落在照片外，只看到填充的零。"
    else:
        en += "All of them lie on the photo."
        zh += "全部落在照片上。"
    title = both("Where one 3 × 3 kernel looks: click on the photo", "一个 3 × 3 卷积核看哪里：点一下照片")
    return [pictures(picture(photo, title, pick=True, shapes=shapes), columns=2), text(both(en, zh), finding=True)]


def stacks(rate: int) -> list[tuple[int, int, int]]:
    """Rates of three layers, to compare: all the same; growing; growing by multiples of the same number."""
    return list(dict.fromkeys([(rate, rate, rate), (1, 2, 3), (rate, 2 * rate, 3 * rate)]))


def _gridding(rate: int) -> list[Block]:
    items = []
    for rates in stacks(rate):
        ways = coverage(rates)
        holes = float((ways == 0).mean())
        listed, factor = ", ".join(map(str, rates)), math.gcd(*rates)
        en = f"{len(ways)} × {len(ways)} positions; "
        zh = f"{len(ways)} × {len(ways)} 个位置，"
        en += f"{share_text(holes)} of them are holes" if holes else "no hole"
        zh += f"其中 {share_text(holes)} 从未被看到" if holes else "没有遗漏"
        if factor > 1:
            en += f": all rates are multiples of {factor}, so only one row and one column in {factor} is seen"
            zh += f"：扩张率都是 {factor} 的倍数，所以每 {factor} 行、每 {factor} 列只看到一行一列"
        shown = signed_picture(np.log1p(ways.astype(np.float64)))
        title = both(f"Rates {listed}", f"扩张率 {listed}")
        items.append(picture(shown, title, note=both(en, zh), pixelated=True))
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
                "Green: reached, the darker the more ways lead there. White: a hole. The output sits in the middle. "
                "(The branches of ASPP, the next lesson, stand side by side, not one after the other.)",
                "绿色：能到达，越深路径越多。白色：从未被看到的位置。输出位于正中。"
                "（下一课 ASPP 的分支是并排的，不是一个接一个。）",
            )
        ),
    ]


def _strides(photo: Image.Image) -> list[Block]:
    """DeepLabV3's own weights at three output strides: masks, time, work, and what stays the same."""
    card = load_predictor(NAME).card
    x, geometry = card.preprocess.apply(photo)
    small, geometry = at_most(photo, geometry)
    height, width = geometry.network_size
    items, maps, features, seconds = [], {}, {}, {}
    for stride in STRIDES:
        network = at_stride(stride).network
        assert isinstance(network, DeepLabV3)
        began = time.perf_counter()
        features[stride] = encode(network, x)
        logits = decode(network, features[stride], (height, width))
        seconds[stride] = time.perf_counter() - began
        maps[stride] = card.preprocess.restore_labels(logits, geometry)[0]
        rates = ", ".join(str(rate) for kind, rate in branch_names(network) if kind == "atrous")
        note = both(
            f"{width // stride} × {height // stride} positions, rates {rates}",
            f"{width // stride} × {height // stride} 个位置，扩张率 {rates}",
        )
        items.append(label_picture(small, maps[stride], card.classes, _named(stride), note=note))
    macs = {stride: macs_at(stride, (height, width)) for stride in STRIDES}
    own = output_stride()
    rows = [
        [
            _named(stride),
            f"{1000 * seconds[stride]:.0f} ms",
            cell(f"{macs[stride] / 1e9:.1f} G", bar=macs[stride] / max(macs.values())),
            share_text(float((maps[own] != maps[stride]).mean())),
        ]
        for stride in STRIDES
    ]
    head = [
        both("The same weights at", "同一组权重"),
        both("time here, once", "本机用时（一次）"),
        both("multiply-adds", "乘加运算"),
        both(f"pixels labelled otherwise than at {own}", f"与步幅 {own} 标签不同的像素"),
    ]
    title = both(
        f"DeepLabV3 at three output strides; it was trained at {own}", f"三种输出步幅的 DeepLabV3（训练时为 {own}）"
    )
    shared = shared_grid(features[8], features[16])
    return [pictures(*items, title=title, columns=3), table(head, rows), *_shared(shared), *rates_note(card)]


def _shared(grid: SharedGrid) -> list[Block]:
    """That stride 8 keeps the features of stride 16, measured on this photo."""
    share = grid.difference
    amount = "< 0.001 %" if share < 1e-5 else f"{share:.3%}".replace("%", " %")
    finding = both(
        "The encoder's features at output stride 16 are there at 8 too, on every second position: the largest "
        f"difference is {amount} of the largest feature.",
        f"输出步幅 16 时编码器的特征，在 8 时也都在，每隔一个位置一个：最大差别是最大特征的 {amount}。",
    )
    if share > 1e-3:  # an encoder with layers that average over the whole picture
        finding = both(
            f"On the positions that output strides 8 and 16 share, the encoder's features differ by up to {amount} of "
            "the largest one.",
            f"在输出步幅 8 和 16 共有的位置上，编码器的特征最多相差最大特征的 {amount}。",
        )
        return [text(finding, finding=True)]
    why = both(
        "So are those of ASPP's 3 × 3 branches, because their rates are doubled. New are the positions in between, for "
        "which the network was never trained; and image pooling now averages over all positions.",
        "ASPP 的 3 × 3 分支也是如此，因为它们的扩张率加倍了。新的是中间那些位置，网络没有在那里训练过；"
        "全局池化也改为对所有位置求平均。",
    )
    return [text(finding, finding=True), text(why)]


def _named(stride: int) -> Words:
    return both(f"Output stride {stride}", f"输出步幅 {stride}")


def output_stride() -> int:
    """The one that the network was trained at."""
    return int(load_card(card_path(NAME)).model_options.get("output_stride", TRAINED))


@cache
def at_stride(stride: int) -> Predictor:
    """DeepLabV3's weights at another output stride; made once."""
    if stride == output_stride():
        return load_predictor(NAME)
    with torch.inference_mode(False):
        model, card = load_checkpoint(NAME)
        assert isinstance(model, DeepLabV3)
        options = {"output_stride": TRAINED, "atrous_rates": PAPER, **card.model_options}
        return Predictor(at_output_stride(model, stride, num_classes=len(card.classes), options=options), card)


@cache
def macs_at(stride: int, size: tuple[int, int]) -> int:
    """Multiply-adds for a network input of this size; there are few sizes, for both sides are multiples of 32."""
    without_numbers = copy.deepcopy(at_stride(stride).network).to("meta")  # PyTorch counts without computing
    return count_macs(without_numbers, size)


LESSON = Lesson(
    key="atrous",
    title=both("DeepLab: atrous convolution", "DeepLab：空洞卷积"),
    tells=[
        both(
            "A classification network makes the picture 32 times smaller in each direction. For one label that is "
            "fine; for a label per pixel it throws the places away. DeepLab leaves out the last shrinking steps. But "
            "then the kernels after them would see less of the picture.",
            "分类网络把图的边长缩小到 1/32。只要一个标签时没问题，要给每个像素一个标签，就把位置丢掉了。"
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
        "When the rate nears the size of the feature map, only the middle tap still lies on the photo. Rates with a "
        "common factor leave holes: gridding. A smaller output stride asks at more positions, and costs more: are "
        "the outlines worth it?",
        "扩张率接近特征图的大小时，只剩中间的采样点还在照片上。扩张率有公因数时，会漏掉一些位置，即网格效应。"
        "输出步幅越小，要算的位置越多，代价越大：轮廓值得这个代价吗？",
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

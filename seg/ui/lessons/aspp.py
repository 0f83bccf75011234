"""Lesson: ASPP branch by branch. What each scale brings, and what is lost when it is muted."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from seg import list_checkpoints, load_predictor
from seg.card import load_card
from seg.checkpoint import card_path
from seg.explain.deeplab import Branch, aspp_view, branch_names
from seg.models.deeplab import DeepLabV3
from seg.render import changed_picture, confidence_picture, overlay, share_text
from seg.ui.board import Block, Words, both, box, cell, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, several

NAME = "deeplabv3"
PAPER = (6, 12, 18)  # rates at output stride 16
COLOURS = ("#56b4e9", "#ffd400", "#ff9d5c", "#f0a3cf", "#3fd0a4")


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], heard: list[int]) -> list[Block]:
    """The intact answer, the one of the branches that are heard, and what each branch is worth at the point."""
    if NAME not in list_checkpoints():
        return [text(both("No DeepLabV3 is installed here.", "这里没有安装 DeepLabV3。"))]
    predictor = load_predictor(NAME)
    network, classes = predictor.network, predictor.card.classes
    assert isinstance(network, DeepLabV3)
    x, geometry = predictor.card.preprocess.apply(photo)
    count = len(branch_names(network))

    whole = aspp_view(network, x)
    muted = {branch for branch in range(count) if branch not in heard}
    alone = {branch: aspp_view(network, x, muted={branch}).logits for branch in range(count)}
    chosen = aspp_view(network, x, muted=muted).logits
    intact, now = (predictor.card.preprocess.restore_labels(y, geometry)[0] for y in (whole.logits, chosen))
    changed = float((intact != now).mean())
    finding = both(f"{share_text(changed)} of the pixels got another label.", f"{share_text(changed)} 的像素换了标签。")
    if not muted:
        finding = both("All branches are heard. Mute one above.", "所有分支都在。请在上面关掉一个。")

    at = int(point[0] * x.shape[3]), int(point[1] * x.shape[2])
    scores = whole.logits[0, :, at[1], at[0]]
    winner = int(scores.argmax())
    rows = []
    for number, branch in enumerate(whole.branches):
        lost = float(scores[winner] - alone[number][0, winner, at[1], at[0]])
        relabelled = float((alone[number].argmax(dim=1) != whole.logits.argmax(dim=1)).float().mean())
        rows.append([name_of(branch.kind, branch.rate), f"{lost:+.2f}", cell(share_text(relabelled), bar=relabelled)])
    head = [
        both("Muted alone", "单独关掉"),
        both(f"score of {classes.names[winner]} falls by", f"{classes.names_zh[winner]}的得分下降"),
        both("pixels with another label", "换了标签的像素"),
    ]
    return [
        pictures(
            picture(
                overlay(photo, intact, classes),
                both("All branches: click on the picture", "所有分支：点一下图"),
                pick=True,
                shapes=[dot(point[0] * photo.width, point[1] * photo.height), *_boxes(photo, point, network, x)],
            ),
            picture(overlay(photo, now, classes), both("The branches that are heard", "只听这些分支")),
            picture(changed_picture(photo, intact != now), both("What changed (red)", "改变之处（红色）")),
            columns=3,
        ),
        text(finding, finding=True),
        table(
            head,
            rows,
            title=both(
                f"At your point all branches say {classes.names[winner]}, score {scores[winner]:.2f}",
                f"在你点的位置，所有分支合起来说是{classes.names_zh[winner]}，得分 {scores[winner]:.2f}",
            ),
        ),
        *_summands(whole.branches),
    ]


def _boxes(photo: Image.Image, point: tuple[float, float], network: DeepLabV3, x: torch.Tensor) -> list[dict]:
    """How far the atrous branches look from the point, in photo pixels."""
    stride = network.backbone.strides[-1]
    scale_x, scale_y = photo.width / x.shape[3], photo.height / x.shape[2]
    found = []
    for number, (kind, rate) in enumerate(branch_names(network)):
        if kind == "atrous":
            reach_x, reach_y = rate * stride * scale_x, rate * stride * scale_y
            cx, cy = point[0] * photo.width, point[1] * photo.height
            sides = cx - reach_x, cy - reach_y, cx + reach_x, cy + reach_y
            found.append(box(*sides, colour=COLOURS[number % len(COLOURS)]))
    return found


def _summands(branches: tuple[Branch, ...]) -> list[Block]:
    strength = [branch.contribution[0].square().mean(dim=0).sqrt().numpy() for branch in branches]  # (h, w) each
    most = max(float(s.max()) for s in strength)
    energy = np.array([float(np.square(s).mean()) for s in strength])
    items = [
        picture(
            confidence_picture(s / max(most, 1e-12)),
            name_of(branch.kind, branch.rate),
            note=both(f"{100 * share:.0f} % of the sum of squares", f"平方和的 {100 * share:.0f} %"),
            pixelated=True,
        )
        for branch, s, share in zip(branches, strength, energy / energy.sum(), strict=True)
    ]
    return [
        pictures(
            *items,
            title=both("How strongly each branch speaks, and where", "每个分支在哪里说得多响"),
            columns=5,
        ),
        text(
            both(
                "The projection after ASPP is a 1 × 1 convolution, so before its ReLU its input is a plain sum with "
                "one summand per branch: its size is shown (root mean square over channels), one scale for all. After "
                "the ReLU it is no sum any more; so what a branch is worth for a class is told by muting it, in the "
                "table. A muted branch may also make room: a score can rise.",
                "ASPP 之后的投影是 1 × 1 卷积，所以在 ReLU 之前，它是每个分支一项的简单求和：图中画的是各项的大小"
                "（各通道的均方根），用同一标尺。经过 ReLU 之后就不再是求和，因此一个分支对某一类值多少，"
                "要靠关掉它来看（见表）。关掉一个分支也可能让得分上升。",
            )
        ),
    ]


def name_of(kind: str, rate: int) -> Words:
    """How people call a branch."""
    if kind == "pooling":
        return both("image pooling", "全局池化")
    return both("1 × 1", "1 × 1") if kind == "1x1" else both(f"3 × 3, rate {rate}", f"3 × 3，扩张率 {rate}")


def _choices() -> list[tuple[Words, int]]:
    """One per branch of the network that is here; without one, the paper's five. The card is enough to know."""
    card = load_card(card_path(NAME)) if NAME in list_checkpoints() else None
    rates = card.model_options.get("atrous_rates", PAPER) if card else PAPER
    named = [("1x1", 1), *(("atrous", rate) for rate in rates), ("pooling", 0)]
    return [(name_of(kind, rate), number) for number, (kind, rate) in enumerate(named)]


_BRANCHES = _choices()
LESSON = Lesson(
    key="aspp",
    title=both("DeepLabV3: ASPP, branch by branch", "DeepLabV3：逐个分支看 ASPP"),
    tells=[
        both(
            "The same thing may fill the photo or be tiny. Atrous Spatial Pyramid Pooling looks at every position with "
            "several kernels at once: a 1 × 1 one, three 3 × 3 ones with growing rates, and the mean of the whole "
            "image. Their answers are laid side by side and mixed by a 1 × 1 convolution.",
            "同一种东西可能占满照片，也可能很小。空洞空间金字塔池化（ASPP）在每个位置同时用几个卷积核看："
            "一个 1 × 1，三个扩张率递增的 3 × 3，再加上整张图的平均。它们的结果并排放在一起，由 1 × 1 卷积混合。",
        ),
    ],
    do=both(
        "Click into a large thing, then mute the branches one by one. Leave only one of them.",
        "点一个大的物体，再逐个关掉分支。最后只留一个。",
    ),
    notice=both(
        "The coloured boxes show how far each rate reaches. Muting image pooling often changes what a thing is called, "
        "rarely its outline: it knows the scene, not the place.",
        "彩色方框是每个扩张率伸到的地方。关掉全局池化往往改变物体的名称，很少改变轮廓：它知道场景，不知道位置。",
    ),
    paper=both("Chen et al. 2017 (DeepLabV3), section 3.3 and figure 5", "Chen 等，2017（DeepLabV3），第 3.3 节和图 5"),
    controls=[
        several("heard", both("Branches that are heard", "听哪些分支"), _BRANCHES, [number for _, number in _BRANCHES])
    ],
    answer=answer,
)

"""Lesson: ASPP branch by branch. What each scale brings, and what is lost when it is muted."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image, ImageColor

from seg import list_checkpoints, load_predictor
from seg.card import ModelCard, load_card
from seg.checkpoint import card_path
from seg.explain.deeplab import (
    Branch,
    ClassShares,
    aspp_branches,
    branch_names,
    class_shares,
    encode,
    logits_of,
)
from seg.models.backbone import resize
from seg.models.deeplab import DeepLabV3
from seg.render import changed_picture, share_text, signed_picture
from seg.ui.board import Block, Words, both, box, cell, dot, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, at_most, label_picture, several

NAME = "deeplabv3"
PAPER = (6, 12, 18)  # rates at output stride 16
COLOURS = ("#56b4e9", "#ffd400", "#ff9d5c", "#f0a3cf", "#3fd0a4")


@torch.inference_mode()
def answer(*, photo: Image.Image, point: tuple[float, float], heard: list[int]) -> list[Block]:
    """The intact answer, the one of the branches that are heard, and what each branch brings to the class at the point.

    The encoder, nearly all of the work, runs once.
    """
    if NAME not in list_checkpoints():
        return [text(both("No DeepLabV3 is installed here.", "这里没有安装 DeepLabV3。"))]
    predictor = load_predictor(NAME)
    network, classes, preprocess = predictor.network, predictor.card.classes, predictor.card.preprocess
    assert isinstance(network, DeepLabV3)
    x, geometry = preprocess.apply(photo)
    small, geometry = at_most(photo, geometry)
    size = geometry.network_size
    here = min(int(point[0] * small.width), small.width - 1), min(int(point[1] * small.height), small.height - 1)

    branches = aspp_branches(network, encode(network, x))
    whole = logits_of(network, branches, size)
    scores = preprocess.restore_at(whole, geometry, here)  # (K,)
    winner = int(scores.argmax())
    shares = class_shares(network, branches, winner)
    brought = torch.cat([shares.branches, shares.constant[None]])[None]  # (1, B + 1, h, w)
    at_point = preprocess.restore_at(resize(brought, size), geometry, here).tolist()  # enlarged as the score itself

    intact = preprocess.restore_labels(whole, geometry)[0]
    falls, relabelled = [], []
    for number in range(len(branches)):
        without = logits_of(network, branches, size, muted={number})
        falls.append(float(scores[winner] - preprocess.restore_at(without, geometry, here)[winner]))
        relabelled.append(float((preprocess.restore_labels(without, geometry)[0] != intact).mean()))
    muted = {number for number in range(len(branches)) if number not in heard}
    now = preprocess.restore_labels(logits_of(network, branches, size, muted=muted), geometry)[0]

    shapes = [*_boxes(small, here, network, size), dot(here[0] + 0.5, here[1] + 0.5)]
    names = classes.names[winner], classes.names_zh[winner]
    return [
        pictures(
            label_picture(
                small,
                intact,
                classes,
                both("All branches: click on the picture", "所有分支：点一下图"),
                note=both(
                    "Boxes: how far each rate reaches, in the colours of the table. A side that is not seen lies "
                    "outside the photo.",
                    "方框：每个扩张率伸到的地方，颜色与表格一致。看不到的边在照片之外。",
                ),
                pick=True,
                shapes=shapes,
            ),
            label_picture(small, now, classes, both("The branches that are heard", "只保留这些分支")),
            picture(changed_picture(small, intact != now), both("What changed (red)", "改变之处（红色）")),
            columns=3,
        ),
        text(_change(float((intact != now).mean()), muted), finding=True),
        _table(branches, at_point, falls, relabelled, names),
        *_account(at_point, falls, names),
        *_maps(branches, shares, names),
        *rates_note(predictor.card),
    ]


def rates_note(card: ModelCard) -> list[Block]:
    """Why the rates are not the paper's, where they are not."""
    rates = tuple(card.model_options.get("atrous_rates", PAPER))
    if rates == PAPER:
        return []
    en, zh = (
        "The paper's rates at output stride 16 are 6, 12 and 18, for crops of 513 pixels; "
        f"this network has {', '.join(map(str, rates))}",
        f"论文在输出步幅 16 时的扩张率是 6、12、18，裁剪大小为 513 像素；这个网络的是 {'、'.join(map(str, rates))}",
    )
    crop = card.training.get("recipe", {}).get("crop_size")
    if crop:
        en, zh = f"{en}: it was trained on crops of {crop}", f"{zh}，因为训练时裁剪大小为 {crop} 像素"
    return [text(both(f"{en}.", f"{zh}。"))]


def _change(changed: float, muted: set[int]) -> Words:
    if not muted:
        return both("All branches are heard. Mute one above.", "所有分支都在。请在上面关掉一个。")
    return both(f"{share_text(changed)} of the pixels got another label.", f"{share_text(changed)} 的像素换了标签。")


def _table(
    branches: tuple[Branch, ...],
    at_point: list[float],
    falls: list[float],
    relabelled: list[float],
    names: tuple[str, str],
) -> Block:
    """One row per branch; then the biases and the sum, which nobody can mute."""
    rows: list[list[Any]] = []
    for number, branch in enumerate(branches):
        colour = ImageColor.getrgb(COLOURS[number % len(COLOURS)]) if branch.kind == "atrous" else None
        name = cell(name_of(branch.kind, branch.rate), swatch=colour)
        moved = cell(share_text(relabelled[number]), bar=relabelled[number])
        rows.append([name, f"{at_point[number]:+.2f}", f"{falls[number]:+.2f}", moved])
    rows.append([both("constant (biases)", "常数（偏置）"), f"{at_point[-1]:+.2f}", "", ""])
    rows.append([both("sum: the score", "总和：得分"), f"{sum(at_point):+.2f}", "", ""])
    head = [
        both("Branch", "分支"),
        both(f"brings to {names[0]}", f"给{names[1]}带来"),
        both("muted alone, the score falls by", "单独关掉，得分下降"),
        both("and pixels get another label", "同时换了标签的像素"),
    ]
    title = both(f"At your point the network says {names[0]}", f"在你点的位置，网络说是{names[1]}")
    return table(head, rows, title=title)


def _account(at_point: list[float], falls: list[float], names: tuple[str, str]) -> list[Block]:
    finding = both(
        f"The branches bring {sum(at_point[:-1]):+.2f} to {names[0]}. Muted one at a time they take away "
        f"{sum(falls):+.2f}.",
        f"各分支给{names[1]}带来 {sum(at_point[:-1]):+.2f}；一个一个地关掉，减少的总和是 {sum(falls):+.2f}。",
    )
    why = both(
        "What a branch brings is exact: up to the ReLU the 1 × 1 convolution is only a weighted sum, after it the "
        "classifier is only a weighted sum, and the ReLU is held as it is on this photo. What muting takes away is "
        "another question: without a branch, the ReLU lets other numbers through. So the two columns need not agree.",
        "“带来多少”是精确的：ReLU 之前的 1 × 1 卷积只是加权求和，之后的分类层也只是加权求和，"
        "而 ReLU 保持它在这张照片上的开关状态。“关掉后减少多少”是另一个问题：少了一个分支，ReLU 会放行别的数。"
        "所以两列不一定相同。",
    )
    return [text(finding, finding=True), text(why)]


def _boxes(small: Image.Image, here: tuple[int, int], network: DeepLabV3, size: tuple[int, int]) -> list[dict]:
    """How far the atrous branches look from the point; the 1 x 1 sees its position alone, image pooling everything."""
    stride = network.backbone.strides[-1]
    across, down = stride * small.width / size[1], stride * small.height / size[0]  # pixels per feature
    x, y = here[0] + 0.5, here[1] + 0.5
    found = []
    for number, (kind, rate) in enumerate(branch_names(network)):
        if kind == "atrous":
            sides = x - rate * across, y - rate * down, x + rate * across, y + rate * down
            found.append(box(*sides, colour=COLOURS[number % len(COLOURS)]))
    return found


def _maps(branches: tuple[Branch, ...], shares: ClassShares, names: tuple[str, str]) -> list[Block]:
    """What each branch brings to the class, over the whole picture."""
    most = max(float(shares.branches.abs().max()), 1e-12)
    items = [
        picture(
            signed_picture(share.numpy(), most=most),
            name_of(branch.kind, branch.rate),
            note=f"{_signed(share.min())} … {_signed(share.max())}",
            pixelated=True,
        )
        for branch, share in zip(branches, shares.branches, strict=True)
    ]
    title = both(f"What each branch brings to {names[0]}, everywhere", f"每个分支在各处给{names[1]}带来多少")
    explained = both(
        f"Green: speaks for {names[0]}; orange: against it. One scale for all. Image pooling hands the same numbers to "
        "every position; its map still varies, because the ReLU lets through other ones here and there.",
        f"绿色：支持{names[1]}；橙色：反对。所有图用同一标尺。全局池化给每个位置同样的数；"
        "它的图仍有变化，因为 ReLU 在各处放行的数不同。",
    )
    return [pictures(*items, title=title, columns=5), text(explained)]


def _signed(value: torch.Tensor) -> str:
    return f"{round(float(value), 1) + 0.0:+.1f}"  # 0 is no negative number


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
            "several kernels at once: a 1 × 1 one, three 3 × 3 ones with growing rates, and the mean of the "
            "features over the whole image. Their answers are laid side by side and mixed by a 1 × 1 convolution.",
            "同一种东西可能占满照片，也可能很小。空洞空间金字塔池化（ASPP）在每个位置同时用几个卷积核看："
            "一个 1 × 1，三个扩张率递增的 3 × 3，再加上特征在整张图上的平均。它们的结果并排放在一起，由 1 × 1 "
            "卷积混合。",
        ),
    ],
    do=both(
        "Click into a large thing, then mute the branches one by one. Leave only one of them.",
        "点一个大的物体，再逐个关掉分支。最后只留一个。",
    ),
    notice=both(
        "The coloured boxes show how far each rate reaches; image pooling sees the whole photo. Which branch speaks "
        "for the class at your point, which against it? Does muting it move outlines, or change what a thing is "
        "called?",
        "彩色方框是每个扩张率伸到的地方；全局池化看到整张照片。在你点的位置，哪个分支支持这个类别，哪个反对？"
        "关掉它，是轮廓移动了，还是物体的名称变了？",
    ),
    paper=both("Chen et al. 2017 (DeepLabV3), section 3.3 and figure 5", "Chen 等，2017（DeepLabV3），第 3.3 节和图 5"),
    controls=[
        several(
            "heard", both("Branches that are heard", "保留哪些分支"), _BRANCHES, [number for _, number in _BRANCHES]
        )
    ],
    answer=answer,
)

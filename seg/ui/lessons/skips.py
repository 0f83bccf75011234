"""Lesson: what U-Net's skips carry. Keep, empty or shuffle each of them, and see what the answer loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from seg import Predictor, list_checkpoints, load_predictor
from seg.explain.truth import nearest, score, scored_size
from seg.explain.unet import TREATMENTS, Treatment, joints, skip_strides, unet_logits, unetpp_nodes
from seg.metrics import ConfusionMatrix
from seg.models.unet import UNet, UNetPlusPlus
from seg.render import changed_picture, share_text
from seg.ui.board import Block, both, cell, picture, pictures, table, text
from seg.ui.lessons._lesson import Lesson, choice, class_cell, label_picture
from seg.ui.lessons.truth import label_of, share_cell

STRIDES = (16, 8, 4, 2)
WORDS = {"keep": both("keep", "保留"), "zero": both("empty", "清空"), "shuffle": both("shuffle", "打乱")}


@torch.inference_mode()
def answer(
    *,
    photo: Image.Image,
    point: tuple[float, float],
    s16: Treatment,
    s8: Treatment,
    s4: Treatment,
    s2: Treatment,
    truth: dict[str, Any] | None = None,
) -> list[Block]:
    """The intact and the treated answer side by side, what each skip alone is worth, and what is joined where."""
    if "unet" not in list_checkpoints():
        return [text(both("No U-Net is installed here.", "这里没有安装 U-Net。"))]
    predictor = load_predictor("unet")
    network = predictor.network
    assert isinstance(network, UNet)
    wanted = dict(zip(STRIDES, (s16, s8, s4, s2), strict=True))
    treatments: list[Treatment] = [wanted.get(stride, "keep") for stride in skip_strides(network)]
    x, geometry = predictor.card.preprocess.apply(photo)
    features = network.encoder(x)

    def labels(chosen: Sequence[Treatment]) -> np.ndarray:
        logits = unet_logits(network, x, chosen, features)
        return predictor.card.preprocess.restore_labels(logits, geometry)[0]

    intact, now = labels(["keep"] * len(treatments)), labels(treatments)
    return [
        *_side_by_side(photo, predictor, intact, now, treatments),
        *_shares(predictor, intact, now),
        _against_truth(photo, predictor, intact, now, truth),
        _alone(predictor, intact, labels),
        *_joined(network, x, len(predictor.card.classes)),
        *_unetpp(photo, intact),
    ]


def _side_by_side(
    photo: Image.Image, predictor: Predictor, intact: np.ndarray, now: np.ndarray, treatments: Sequence[Treatment]
) -> list[Block]:
    classes = predictor.card.classes
    changed = float((intact != now).mean())
    done_en = ", ".join(f"{s}: {WORDS[t]['en']}" for s, t in zip(STRIDES, treatments, strict=True))
    done_zh = "，".join(f"{s}：{WORDS[t]['zh']}" for s, t in zip(STRIDES, treatments, strict=True))
    finding = both(f"{share_text(changed)} of the pixels got another label.", f"{share_text(changed)} 的像素换了标签。")
    if all(treatment == "keep" for treatment in treatments):
        finding = both(
            "All skips are kept: nothing changes. Empty one above.",
            "所有跳跃连接都保留，什么也没变。请在上面清空一个。",
        )
    return [
        pictures(
            label_picture(photo, intact, classes, both("U-Net, intact", "完整的 U-Net")),
            label_picture(
                photo,
                now,
                classes,
                both("With these skips", "这样处理跳跃连接"),
                note=both(f"stride {done_en}", f"步幅 {done_zh}"),
            ),
            picture(changed_picture(photo, intact != now), both("What changed (red)", "改变之处（红色）")),
            columns=3,
        ),
        text(finding, finding=True),
    ]


def _shares(predictor: Predictor, intact: np.ndarray, now: np.ndarray) -> list[Block]:
    """Share of the photo per class, before and after, and how well the two answers agree on it."""
    classes = predictor.card.classes
    before, after = (np.bincount(ids.ravel(), minlength=len(classes)) / ids.size for ids in (intact, now))
    agreement = agreement_iou(intact, now, len(classes))
    rows = [
        [
            class_cell(classes, int(i)),
            share_text(before[i]),
            share_text(after[i]),
            f"{agreement[i]:.2f}",
        ]
        for i in np.argsort(-np.maximum(before, after))
        if before[i] or after[i]
    ]
    head = [
        both("Class", "类别"),
        both("intact", "完整"),
        both("with these skips", "这样处理后"),
        both("IoU of the two answers", "两个结果的 IoU"),
    ]
    return [table(head, rows, title=both("Share of the photo", "占照片的比例"))]


def agreement_iou(first: np.ndarray, second: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) IoU of two answers per class, as if the first were the truth; nan where neither has the class."""
    confusion = ConfusionMatrix(num_classes)
    confusion.update(first, second)
    return confusion.iou


def _against_truth(
    photo: Image.Image, predictor: Predictor, intact: np.ndarray, now: np.ndarray, given: dict[str, Any] | None
) -> Block:
    """Both answers against the label that the lesson Ground truth has for the photo, if it has one."""
    classes = predictor.card.classes
    label = label_of(photo, given["source"], given["label"], given["painted"], classes) if given else None
    if label is None:
        return text(NO_LABEL)
    size = scored_size(photo.height, photo.width)
    rows: list[list[Any]] = []
    for words, ids in ((both("intact", "完整"), intact), (both("with these skips", "这样处理后"), now)):
        found = score(nearest(label, size), nearest(ids, size), len(classes))
        rows.append([words, share_cell(found.miou), share_cell(found.boundary_f)])
    head = ["U-Net", "mIoU", both("boundary F", "边界 F 值")]
    return table(head, rows, title=both("Against your label", "与你的标签相比"))


NO_LABEL = both(
    "With a label in the lesson Ground truth, mIoU and boundary F are shown here too.",
    "如果在“真值标签”一课中给出标签，这里还会显示 mIoU 和边界 F 值。",
)


def _alone(predictor: Predictor, intact: np.ndarray, labels: object) -> Block:
    """Each skip treated alone."""
    assert callable(labels)
    network = predictor.network
    assert isinstance(network, UNet)
    strides = skip_strides(network)
    rows = []
    for place, stride in enumerate(strides):
        row: list[object] = [both(f"stride {stride}", f"步幅 {stride}")]
        for treatment in TREATMENTS[1:]:
            chosen = [treatment if i == place else "keep" for i in range(len(strides))]
            share = float((labels(chosen) != intact).mean())
            row.append(cell(share_text(share), bar=share))
        rows.append(row)
    head = [both("Only this skip", "只动这一个"), both("emptied", "清空"), both("shuffled", "打乱")]
    return table(head, rows, title=both("Pixels that change their label", "换了标签的像素"))


def _joined(network: UNet, x: torch.Tensor, num_classes: int) -> list[Block]:
    found = joints(network, x)
    rows = [
        [
            both(f"stride {joint.stride}", f"步幅 {joint.stride}"),
            f"{joint.size[1]} × {joint.size[0]}",
            joint.below,
            joint.skip,
            cell(f"{100 * joint.skip_share:.0f} %", bar=joint.skip_share),
        ]
        for joint in found
    ]
    head = [
        both("Step up", "上采样的每一步"),
        both("positions", "位置数"),
        both("channels from below", "来自下方的通道"),
        both("channels of the skip", "跳跃连接的通道"),
        both("the skip's part in the response", "跳跃连接在响应中的份额"),
    ]
    total = sum(joint.skip for joint in found)
    words = both(
        f"U-Net lays the skip's channels beside those from below and lets a convolution choose: on this photo the last "
        f"column tells what it chose (mean square of the skip's summand in the first convolution). FCN adds instead: "
        f"{num_classes} scores per position, one per class, nothing else. Here the skips hand over {total} channels. "
        "Ours differs from the paper's figure 1 in several ways: another encoder, so the skips have strides 2, 4, 8 "
        "and 16, there 1, 2, 4 and 8; convolutions are padded; a 1 × 1 convolution and a resize replace the 2 × 2 "
        "up-convolution; each skip is normalised; and what comes from below is also added to each step's result, "
        "which the last column does not count.",
        f"U-Net 把跳跃连接的通道与下方来的通道并排，让卷积自己选择；最后一列是它在这张照片上的选择"
        f"（第一个卷积中跳跃连接那部分响应的均方）。FCN 则是相加：每个位置只有 {num_classes} 个得分，每类一个。"
        f"而这里的跳跃连接一共送来 {total} 个通道。与论文图 1 有几点不同：编码器不同，所以跳跃连接的步幅是 "
        "2、4、8、16（论文为 1、2、4、8）；卷积有填充；用 1 × 1 卷积加缩放代替 2 × 2 上卷积；跳跃连接先做归一化；"
        "来自下方的特征还直接加到每一步的结果上，最后一列没有计入这部分。",
    )
    return [table(head, rows, title=both("Concatenation: what is joined", "拼接：把什么接在一起")), text(words)]


def _unetpp(photo: Image.Image, intact: np.ndarray) -> list[Block]:
    title = both("UNet++: more steps between the two sides", "UNet++：两侧之间有更多步骤")
    if "unetpp" not in list_checkpoints():
        return [text(both("UNet++ is not installed here, so it is not shown.", "这里没有安装 UNet++，所以不显示。"))]
    predictor = load_predictor("unetpp")
    network = predictor.network
    assert isinstance(network, UNetPlusPlus)
    label_map = predictor.predict(photo).label_map
    differs = label_map != intact
    nodes = unetpp_nodes(network)
    columns = max(node.column for node in nodes)
    rows = []
    for row in range(max(node.row for node in nodes) + 1):
        joined = {node.column: f"{node.joined}" for node in nodes if node.row == row}
        stride = next(node.stride for node in nodes if node.row == row)
        words = both(f"stride {stride}", f"步幅 {stride}")
        rows.append([words, *(joined.get(column, "") for column in range(1, columns + 1))])
    head = [both("Row", "行"), *(both(f"column {j}", f"第 {j} 列") for j in range(1, columns + 1))]
    return [
        pictures(
            label_picture(photo, intact, predictor.card.classes, "U-Net"),
            label_picture(photo, label_map, predictor.card.classes, predictor.card.title),
            picture(changed_picture(photo, differs), both("Where they differ (red)", "不同之处（红色）")),
            title=title,
            columns=3,
        ),
        text(
            both(
                f"They differ on {share_text(float(differs.mean()))} of this photo.",
                f"这张照片上两者有 {share_text(float(differs.mean()))} 的像素不同。",
            ),
            finding=True,
        ),
        table(head, rows, title=both("How many maps each node of UNet++ joins", "UNet++ 每个节点拼接几张特征图")),
    ]


LESSON = Lesson(
    key="skips",
    title=both("U-Net: what the skips carry", "U-Net：跳跃连接送来了什么"),
    tells=[
        both(
            "On the way down U-Net's encoder understands more and more and sees ever fewer positions. On the way up "
            "the decoder doubles the positions again, but where exactly an outline runs it learns mostly from the "
            "skips: at every scale they hand over the encoder's features.",
            "往下走，U-Net 的编码器理解得越来越多，位置却越来越少。往上走，解码器把位置一次次加倍，"
            "但轮廓究竟在哪里，主要靠跳跃连接得知：在每个尺度上，它们把编码器的特征送过来。",
        ),
        both(
            "Emptying a skip shows what it brings. Shuffling leaves every feature as it is and only mixes up the "
            "places: it shows whether the place is what counts.",
            "清空一个跳跃连接，可以看出它带来什么。打乱则保留所有特征，只弄乱位置，可以看出重要的是不是位置。",
        ),
    ],
    do=both(
        "Empty the skips one after the other, from stride 2 to stride 16. Then shuffle one instead.",
        "从步幅 2 到步幅 16，一个一个清空。然后改成打乱。",
    ),
    notice=both(
        "Which skip changes outlines, and which one what the thing is called? A shuffled skip says everything in the "
        "wrong places: is that worse than saying nothing? The table has both on your photo.",
        "哪个跳跃连接影响轮廓，哪个影响物体的名称？打乱的跳跃连接把一切都说在错误的位置上，这比什么都不说更糟吗？"
        "表格里两者都有。",
    ),
    paper=both(
        "Ronneberger, Fischer, Brox, MICCAI 2015, section 2 and figure 1. UNet++: Zhou et al., DLMIA 2018, figure 1",
        "Ronneberger, Fischer, Brox，MICCAI 2015，第 2 节和图 1。UNet++：Zhou 等，DLMIA 2018，图 1",
    ),
    controls=[
        choice(
            f"s{stride}",
            both(f"Skip at stride {stride}", f"步幅 {stride} 的跳跃连接"),
            [(WORDS[treatment], treatment) for treatment in TREATMENTS],
            value="zero" if stride == 2 else "keep",
        )
        for stride in STRIDES
    ],
    answer=answer,
    with_truth=True,
)

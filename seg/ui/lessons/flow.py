"""Lesson: data flow. Networks as strips of stages, with shape, cost, and what each stage reacts to."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import torch
from PIL import Image

from seg import list_checkpoints, load_predictor
from seg.card import load_card
from seg.checkpoint import card_path
from seg.explain.flow import Stage, flow, strongest
from seg.render import confidence_picture
from seg.ui.board import Block, Words, both, cell, picture, pictures, strip, strip_box, table, text
from seg.ui.lessons._lesson import Lesson, choice, slider
from seg.ui.networks import default_networks, load_title

SHOWN = 10
LONGEST = 20  # stages of the longest strip, that of UNet++
KNOWN = ("fcn32s", "fcn16s", "fcn8s", "unet", "unetpp", "deeplabv1", "deeplabv2", "deeplabv3")


def answer(*, photo: Image.Image, point: tuple[float, float], network: str, stage: int) -> list[Block]:
    """The three networks and the chosen one as strips, its stages as a table, and the strongest maps of one of them."""
    x, _ = load_predictor(network).card.preprocess.apply(photo)
    three = [name for name in default_networks() if _has_strip(name)]
    shown = [*three, *([] if network in three else [network])]
    flows = {name: flow(load_predictor(name).network, x) for name in shown}
    stages = flows[network]
    place = min(stage, len(stages)) - 1
    most = max(part.channels for name in shown for part in flows[name])
    strips = [_strip(name, flows[name], most, place if name == network else None) for name in shown]
    return [
        *strips,
        text(HOW_TO_READ),
        *_beyond(stage, len(stages)),
        _table(network, stages, place),
        *_sum(stages, x),
        *_maps(stages[place], place),
    ]


def _beyond(stage: int, count: int) -> list[Block]:
    if stage <= count:
        return []
    words = both(
        f"This network has only {count} stages; the last one is shown.",
        f"这个网络只有 {count} 个阶段，显示的是最后一个。",
    )
    return [text(words, finding=True)]


HOW_TO_READ = both(
    "A box is as tall as its map has rows and as wide as it has channels, both on a logarithmic scale, the same for "
    "all networks. Blue: the encoder, of the same design in all of them; in DeepLab its last blocks do not shrink the "
    "map. Orange: what FCN, U-Net and DeepLab each put on it. Branches that work side by side, such as ASPP's, stand "
    "one after the other here; skips are not drawn. DeepLab's last step, a plain resize to full size, has no box.",
    "方块越高，特征图的行数越多；越宽，通道越多；两者都用对数刻度，各个网络相同。"
    "蓝色：编码器，各个网络结构相同，只是 DeepLab 的最后几组不再缩小特征图。"
    "橙色：FCN、U-Net 和 DeepLab 各自加上的部分。并行的分支（如 ASPP 的各分支）在这里排成一列；跳跃连接没有画出。"
    "DeepLab 最后只是把得分缩放到原尺寸，没有对应的方块。",
)
BLUE, ORANGE = 0, 1


def _strip(name: str, stages: list[Stage], channels: int, chosen: int | None) -> Block:
    """A network's boxes; tallest is the photo's own size, widest has `channels`, the most that any strip has."""
    rows = max(stage.output.shape[1] * stage.stride for stage in stages)
    boxes = [
        strip_box(
            _in_words(number, stage),
            height=math.log2(1 + stage.output.shape[1]) / math.log2(1 + rows),
            width=math.log2(stage.channels) / math.log2(channels),
            colour=BLUE if _of_encoder(stage) else ORANGE,
            values={"network": name, "stage": number},
            chosen=number - 1 == chosen,
        )
        for number, stage in enumerate(stages, start=1)
    ]
    work = sum(stage.macs for stage in stages) / 1e9
    return strip(load_title(name), boxes, note=both(f"{work:.2f} G multiply-adds", f"{work:.2f} G 次乘加运算"))


def _in_words(number: int, stage: Stage) -> Words:
    channels, height, width = stage.output.shape
    en, zh = words_for(stage.name)
    return both(
        f"{number}: {en}, {width} × {height} positions, stride {stage.stride}, {channels} channels, "
        f"{stage.macs / 1e6:,.0f} M multiply-adds",
        f"{number}：{zh}，{width} × {height} 个位置，步幅 {stage.stride}，{channels} 个通道，"
        f"{stage.macs / 1e6:,.0f} M 次乘加运算",
    )


def _of_encoder(stage: Stage) -> bool:
    return stage.name.startswith(("backbone", "encoder"))


def _table(name: str, stages: list[Stage], chosen: int) -> Block:
    most = max(stage.macs for stage in stages)
    rows = []
    for number, stage in enumerate(stages, start=1):
        channels, height, width = stage.output.shape
        mark = "▶ " if number - 1 == chosen else ""
        rows.append(
            [
                f"{mark}{number}",
                both(*words_for(stage.name)),
                stage.name,
                f"{width} × {height}",
                f"1/{stage.stride}",
                channels,
                f"{stage.parameters / 1e3:,.1f} k",
                cell(f"{stage.macs / 1e6:,.0f} M", bar=stage.macs / most),
            ]
        )
    head = [
        both("No.", "序号"),
        both("Stage", "阶段"),
        both("in the code", "代码中"),
        both("positions", "位置数"),
        both("stride", "步幅"),
        both("channels", "通道"),
        both("parameters", "参数量"),
        both("multiply-adds", "乘加运算"),
    ]
    title = load_title(name)
    return table(head, rows, title=both(f"{title}, stage by stage", f"{title}，逐个阶段"))


def _sum(stages: list[Stage], x: torch.Tensor) -> list[Block]:
    """Where the work is: encoder against what stands on it."""
    parts = {inside: sum(stage.macs for stage in group) for inside, group in groupby(stages, key=_of_encoder)}
    total = sum(parts.values())
    encoder = parts.get(True, 0) / total
    return [
        text(
            both(
                f"For this photo ({x.shape[3]} × {x.shape[2]} at the network): {total / 1e9:.2f} G multiply-adds, "
                f"{100 * encoder:.0f} % of them in the encoder.",
                f"这张照片（网络看到 {x.shape[3]} × {x.shape[2]}）：{total / 1e9:.2f} G 次乘加运算，"
                f"其中 {100 * encoder:.0f} % 在编码器里。",
            ),
            finding=True,
        )
    ]


def _maps(stage: Stage, place: int) -> list[Block]:
    items = []
    for channel, values in strongest(stage, SHOWN):
        low, high = float(values.min()), float(values.max())
        levels = (values.numpy() - low) / max(high - low, 1e-12)
        small = confidence_picture(np.ascontiguousarray(levels))
        note = f"{low:.1f} … {high:.1f}"
        items.append(picture(small, both(f"channel {channel}", f"通道 {channel}"), note=note, pixelated=True))
    en, zh = words_for(stage.name)
    return [
        pictures(
            *items,
            title=both(
                f"Stage {place + 1}, {en}: the {len(items)} channels that react most to this photo",
                f"第 {place + 1} 阶段（{zh}）：对这张照片反应最强的 {len(items)} 个通道",
            ),
            columns=5,
        ),
        text(
            both(
                "Dark blue is the lowest value of a channel, yellow its highest. In the encoder, early stages see "
                "edges and textures in many positions, the last ones things in few. After the encoder the positions "
                "may grow again.",
                "深蓝是该通道的最小值，黄色是最大值。在编码器中，前面的阶段在很多位置上看到边缘和纹理，"
                "最后的阶段在很少的位置上看到物体；编码器之后，位置可能又会变多。",
            )
        ),
    ]


def words_for(name: str) -> tuple[str, str]:
    """A stage's name for people, in English and Chinese."""
    last = name.rsplit(".", 1)[-1]
    if ".net." in name:
        if last == "conv_stem":
            return "encoder, first convolution", "编码器，第一个卷积"
        return f"encoder, block {last}", f"编码器，第 {last} 组"
    family = name.split(".")[0]
    named: dict[str, tuple[str, str]] = {
        "fc": ("fc6 and fc7 as convolutions", "卷积化的 fc6、fc7"),
        "classifier": ("scores per class", "每类的得分"),
        "last": ("last step up, full size", "最后一步上采样，到原尺寸"),
        "head": ("LargeFOV", "LargeFOV"),
        "aspp.image_pooling": ("ASPP, image pooling", "ASPP，全局池化"),
        "aspp.project": ("ASPP, projection", "ASPP，投影"),
    }
    if name in named:
        return named[name]
    if family.startswith("score"):
        return f"scores at stride {family[5:]}", f"步幅 {family[5:]} 的得分"
    if family.startswith("up"):
        strides = family[2:].replace("to", "\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}")
        return f"transposed convolution {strides}", f"转置卷积 {strides}"
    if family == "decoder":
        return f"step up {int(last) + 1}", f"上采样第 {int(last) + 1} 步"
    if family == "nodes":
        row, column = last.split("_")
        return f"node, row {row}, column {column}", f"节点，第 {row} 行第 {column} 列"
    return f"branch {int(last) + 1}", f"分支 {int(last) + 1}"


def _networks() -> list[tuple[Words | str, str]]:
    first = default_networks()
    names = [*first, *(name for name in list_checkpoints() if name not in first)]
    return [(load_title(name), name) for name in names if _has_strip(name)]


def _has_strip(name: str) -> bool:
    return load_card(card_path(name)).model in KNOWN


LESSON = Lesson(
    key="flow",
    title=both("Data flow", "数据流"),
    tells=[
        both(
            "A network is a row of stages. On the way the map gets smaller and deeper: fewer positions, more channels. "
            "FCN, U-Net and DeepLab differ in what stands on the encoder; DeepLab also keeps the encoder's last blocks "
            "from shrinking the map.",
            "网络是一串阶段。一路上特征图越来越小、越来越深：位置变少，通道变多。"
            "FCN、U-Net 和 DeepLab 的不同在编码器之后的部分；此外，DeepLab 让编码器的最后几组不再缩小特征图。",
        ),
    ],
    do=both(
        "Click on a box: what leaves that stage? Walk on to the right, then through another network.",
        "点一个方块：这个阶段输出了什么？一直走到右边，再走另一个网络。",
    ),
    notice=both(
        "Where does each network grow tall again, and in how many steps? "
        "Where are the multiply-adds, and where the parameters? They are not at the same place: few positions with "
        "many channels cost parameters, many positions cost work.",
        "每个网络从哪里开始重新变高，分几步？"
        "乘加运算集中在哪里，参数又集中在哪里？两者不在同一处：位置少通道多，参数就多；位置多，运算就多。",
    ),
    paper=both(
        "FCN 2015, figure 3; U-Net 2015, figure 1; DeepLabV3 2017, figure 5",
        "FCN 2015，图 3；U-Net 2015，图 1；DeepLabV3 2017，图 5",
    ),
    controls=[
        choice("network", both("Network", "网络"), _networks()),
        slider("stage", both("Look inside stage", "看哪个阶段"), 1, LONGEST, step=1, value=3),
    ],
    answer=answer,
)

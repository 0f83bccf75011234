"""Lesson: one pixel, and what every network thinks of it."""

from __future__ import annotations

from PIL import Image

from seg import list_checkpoints, load_predictor
from seg.ui.board import Block, both, cell, dot, picture, pictures, table
from seg.ui.lessons._lesson import Lesson, slider


def answer(*, photo: Image.Image, point: tuple[float, float], top: float) -> list[Block]:
    """The photo to point at, and a table of the likeliest classes."""
    x, y = point
    at = dot(x * photo.width, y * photo.height)
    blocks = [pictures(picture(photo, both("Your photo", "你的照片"), pick=True, shapes=[at]), columns=2)]
    rows = []
    for name in list_checkpoints():
        predictor = load_predictor(name)
        net_x, _ = predictor.card.preprocess.apply(photo)
        logits = predictor.logits(net_x)[0]  # (K, h, w)
        probabilities = logits[:, int(y * logits.shape[1]), int(x * logits.shape[2])].softmax(dim=0)
        shares, ids = probabilities.topk(int(top))
        classes = predictor.card.classes
        rows.append(
            [predictor.card.title]
            + [
                cell(
                    both(f"{classes.names[i]} {share:.0%}", f"{classes.names_zh[i]} {share:.0%}"),
                    bar=float(share),
                    swatch=classes.colours[i],
                )
                for share, i in zip(shares.tolist(), ids.tolist(), strict=True)
            ]
        )
    return [*blocks, table([both("Network", "网络")] + [str(i + 1) for i in range(int(top))], rows)]


LESSON = Lesson(
    key="pixel",
    title=both("One pixel, all networks", "同一个像素，所有网络"),
    tells=[both("A network gives every pixel a probability for every class.", "网络给每个像素算出每一类的概率。")],
    do=both("Click somewhere on the photo.", "在照片上点一下。"),
    notice=both("Near an outline the networks hesitate.", "靠近轮廓处，网络会犹豫。"),
    paper=both("Long, Shelhamer, Darrell 2015, section 3", "Long, Shelhamer, Darrell 2015，第 3 节"),
    controls=[slider("top", both("Classes shown", "显示的类别数"), 1, 5, step=1, value=3)],
    answer=answer,
)

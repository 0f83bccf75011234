"""Lesson: score the networks against a label, a file or a painting of one's own. No label, no score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from seg import InvalidImageError, Predictor, list_checkpoints, load_predictor
from seg.card import load_card
from seg.checkpoint import card_path
from seg.classes import IGNORE_INDEX, ClassSet
from seg.explain.truth import WIDTHS, Score, nearest, score, scored_size, wrong_pixels
from seg.explain.unet import Treatment, skip_strides, unet_logits
from seg.labels import InvalidLabelError, read_label
from seg.models.unet import UNet
from seg.render import changed_picture, patterned, share_text, to_indexed
from seg.ui.board import Block, Text, Words, both, cell, chart, picture, pictures, table, text
from seg.ui.lessons._lesson import (
    Extra,
    Lesson,
    Parts,
    Surroundings,
    choice,
    class_cell,
    class_looks,
    networks,
    shares_in_words,
    switch,
)
from seg.ui.networks import comparable
from seg.ui.painter import make_painter, painter_photo, read_painting
from seg.ui.photo import PhotoInput, fingerprint, open_photo
from seg.ui.text import say

NEAR = 3  # pixels from a label border that the finding speaks of


class LabelError(ValueError):
    """Why there is no label to score against, in every language."""

    def __init__(self, words: Words) -> None:
        super().__init__(words["en"])
        self.words = words


def answer(
    *,
    photo: Image.Image,
    point: tuple[float, float],
    names: list[str],
    source: str,
    skips: bool,
    label: Any = None,
    painted: Any = None,
) -> list[Block]:
    """The label, where each network is wrong, IoU per class, and how the figures fall towards the borders."""
    predictors = [load_predictor(name) for name in names]
    if not predictors:
        return [text(both("Choose at least one network.", "请至少选择一个网络。"))]
    classes = predictors[0].card.classes
    try:
        target = _target(photo, source, label, painted, classes)
    except LabelError as error:
        return [text(error.words, finding=True), *([text(SKIPS_LATER)] if skips else [])]
    label_maps = [predictor.predict(photo).label_map for predictor in predictors]
    size = scored_size(photo.height, photo.width)
    target = nearest(target, size)
    scores = [score(target, nearest(label_map, size), len(classes)) for label_map in label_maps]
    return [
        _pictures(photo, predictors, label_maps, nearest(target, (photo.height, photo.width))),
        *_what_counts(target, (photo.height, photo.width)),
        _finding(predictors, scores),
        _per_class(predictors, scores, classes),
        _bands(predictors, scores),
        *(_without_skips(photo, target) if skips else []),
    ]


SKIPS_LATER = both(
    "As soon as there is a label, U-Net without each skip is scored too.",
    "有了标签之后，还会给去掉各跳跃连接的 U-Net 评分。",
)


def label_of(photo: Image.Image, source: str, label: Any, painted: Any, classes: ClassSet) -> np.ndarray | None:
    """(H, W) uint8 ids of the label that the lesson has for this photo; None where it has none that can be used."""
    try:
        return _target(photo, source, label, painted, classes)
    except LabelError:
        return None


def _target(photo: Image.Image, source: str, label: Any, painted: Any, classes: ClassSet) -> np.ndarray:
    return _painting(painted, photo, classes) if source == "paint" else _file(label, photo, classes)


def _file(label: Any, photo: Image.Image, classes: ClassSet) -> np.ndarray:
    """The label picture that was given, of the photo's size."""
    if not isinstance(label, str | bytes):
        raise LabelError(
            both("No label yet, so no score. Give a label picture.", "还没有标签，所以没有分数。请提供标签图。")
        )
    try:
        ids = read_label(label, classes)
    except InvalidImageError as error:
        raise LabelError(_in_words(f"error_{error.reason}", error.values)) from error
    except InvalidLabelError as error:
        raise LabelError(
            _in_words(f"label_{error.reason}", {"count": len(classes), "last": len(classes) - 1, **error.values})
        ) from error
    if ids.shape != (photo.height, photo.width):
        sizes = f"{ids.shape[1]} × {ids.shape[0]}", f"{photo.width} × {photo.height}"
        raise LabelError(
            both(
                f"The label has {sizes[0]} pixels and the photo {sizes[1]}: a label must have its photo's size. "
                "Choose the photo it belongs to.",
                f"标签是 {sizes[0]} 像素，照片是 {sizes[1]}：标签必须和照片一样大。请选择它对应的照片。",
            )
        )
    return _with_content(ids)


def _painting(painted: Any, photo: Image.Image, classes: ClassSet) -> np.ndarray:
    """What was painted on this photo, at the photo's size."""
    if painted is not None:
        ids = read_painting(painted, fingerprint(photo), len(classes))
        if ids is not None:
            return _with_content(nearest(ids, (photo.height, photo.width)))
    raise LabelError(
        both(
            "No label yet, so no score. Paint one above, then press “Score my label”.",
            "还没有标签，所以没有分数。请在上面画一个，再按“用我的标签评分”。",
        )
    )


def _with_content(ids: np.ndarray) -> np.ndarray:
    if (ids == IGNORE_INDEX).all():
        raise LabelError(both("The label is empty: no pixel has a class.", "标签是空的：没有一个像素有类别。"))
    return ids


def _in_words(key: str, values: dict[str, Any]) -> Words:
    return both(say("en", key, **values), say("zh", key, **values))


def _pictures(
    photo: Image.Image, predictors: Sequence[Predictor], label_maps: Sequence[np.ndarray], target: np.ndarray
) -> Block:
    classes = predictors[0].card.classes
    in_it = shares_in_words(target, classes)
    safe = patterned(target, classes, class_looks(classes))
    shown = [picture(to_indexed(target, classes), both("The label", "标签"), alt=in_it, safe=safe)]
    for predictor, label_map in zip(predictors, label_maps, strict=True):
        wrong = wrong_pixels(target, label_map)
        share = share_text(float(wrong.sum() / (target != IGNORE_INDEX).sum()))
        note = both(f"wrong (red): {share} of the labelled pixels", f"错误（红色）：占已标注像素的 {share}")
        shown.append(picture(changed_picture(photo, wrong), predictor.card.title, note=note))
    return pictures(*shown, columns=4 if len(shown) in (4, 7, 8) else 3)


def _what_counts(target: np.ndarray, size: tuple[int, int]) -> list[Block]:
    """What of the photo is scored, where that is not every pixel."""
    blocks = []
    labelled = float((target != IGNORE_INDEX).mean())
    if labelled < 1:
        share = share_text(labelled)
        words = both(
            f"{share} of the pixels have a label. Only they count.", f"{share} 的像素有标注。只有它们计入分数。"
        )
        blocks.append(text(words))
    if target.shape != size:
        shape = f"{target.shape[1]} × {target.shape[0]}"
        words = both(
            f"The photo is large: it is scored on {shape} of its pixels, evenly spread. Bands are counted in those.",
            f"照片很大：均匀取其中 {shape} 个像素来评分，边界带的宽度也按这些像素计。",
        )
        blocks.append(text(words))
    return blocks


def _finding(predictors: Sequence[Predictor], scores: Sequence[Score]) -> Block:
    best = max(range(len(scores)), key=lambda i: scores[i].miou)
    whole = ", ".join(f"{p.card.title} {s.miou:.2f}" for p, s in zip(predictors, scores, strict=True))
    near = ", ".join(
        f"{p.card.title} {_number(s.band_miou[NEAR - 1])}" for p, s in zip(predictors, scores, strict=True)
    )
    if len(scores) == 1:
        head_en, head_zh = "", ""
    else:
        head_en = f"Highest mIoU on this photo: {predictors[best].card.title}. "
        head_zh = f"这张照片上 mIoU 最高的是 {predictors[best].card.title}。"
    if math.isnan(scores[0].band_miou[NEAR - 1]):
        tail = both("The label has no border, so there is no band along it.", "标签里没有边界，所以没有边界带。")
    else:
        tail = both(
            f"Within {NEAR} pixels of a label border: {near}.",
            f"距标签边界 {NEAR} 像素以内：{near.replace(', ', '，')}。",
        )
    return text(
        both(
            f"{head_en}mIoU of everything: {whole}. {tail['en']}",
            f"{head_zh}整体 mIoU：{whole.replace(', ', '，')}。{tail['zh']}",
        ),
        finding=True,
    )


def _per_class(predictors: Sequence[Predictor], scores: Sequence[Score], classes: ClassSet) -> Block:
    rows: list[list[Any]] = []
    for i in range(len(classes)):
        values = [found.iou[i] for found in scores]
        if not all(math.isnan(value) for value in values):
            name = class_cell(classes, i)
            rows.append([name, *map(share_cell, values)])
    totals = (
        (both("mean (mIoU)", "平均（mIoU）"), [found.miou for found in scores]),
        (both("pixel accuracy", "像素准确率"), [found.pixel_acc for found in scores]),
        (both("boundary F", "边界 F 值"), [found.boundary_f for found in scores]),
    )
    rows += [[words, *map(share_cell, values)] for words, values in totals]
    head: list[Text] = [both("IoU per class", "各类 IoU"), *(predictor.card.title for predictor in predictors)]
    return table(head, rows, title=both("Scores on this photo", "这张照片上的分数"))


def share_cell(value: float) -> Any:
    """A figure between 0 and 1 with its bar; no made-up zero where there is none."""
    return "–" if math.isnan(value) else cell(f"{value:.2f}", bar=value)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _bands(predictors: Sequence[Predictor], scores: Sequence[Score]) -> Block:
    lines = [
        (predictor.card.title, [None if math.isnan(value) else float(value) for value in found.band_miou])
        for predictor, found in zip(predictors, scores, strict=True)
    ]
    return chart(
        range(1, WIDTHS + 1),
        lines,
        title=both("mIoU near the label's borders", "标签边界附近的 mIoU"),
        x_label=both("width of the band, pixels", "边界带的宽度（像素）"),
        y_label=both("mIoU of the pixels in the band", "带内像素的 mIoU"),
    )


@torch.inference_mode()
def _without_skips(photo: Image.Image, target: np.ndarray) -> list[Block]:
    """U-Net's figures with each skip emptied, alone."""
    title = both("U-Net without one skip", "去掉一个跳跃连接的 U-Net")
    if "unet" not in list_checkpoints() or "unet" not in comparable():
        return [text(both("No U-Net is installed here.", "这里没有安装 U-Net。"))]
    predictor = load_predictor("unet")
    network, preprocess = predictor.network, predictor.card.preprocess
    assert isinstance(network, UNet)
    x, geometry = preprocess.apply(photo)
    features = network.encoder(x)
    strides = skip_strides(network)
    rows: list[list[Any]] = []
    for missing in [None, *strides]:
        treatments: list[Treatment] = ["zero" if stride == missing else "keep" for stride in strides]
        ids, _ = preprocess.restore_labels(unet_logits(network, x, treatments, features), geometry)
        found = score(target, nearest(ids, target.shape), len(predictor.card.classes))
        words = both("complete", "完整")
        if missing is not None:
            words = both(f"without the skip at stride {missing}", f"去掉步幅 {missing} 的跳跃连接")
        rows.append([words, share_cell(found.miou), share_cell(found.boundary_f)])
    return [table(["U-Net", "mIoU", both("boundary F", "边界 F 值")], rows, title=title)]


# --- the label: a file or a painting ----------------------------------------------------------------------------------

LABEL = both("Label picture (PNG)", "标签图（PNG）")
DROP = both(
    "Drop a label picture here: ids as in VOC, or the classes' colours",
    "把标签图拖到这里：像 VOC 那样的类别编号，或各类的颜色",
)


def _build(language: str) -> Parts:
    classes = load_card(card_path(list_checkpoints()[0])).classes
    with gr.Column(elem_id="truth-file") as file_place:
        label = PhotoInput(
            label=LABEL[language],
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload"],
            placeholder=DROP[language],
            height=220,
            elem_id="truth-label",
        )
    with gr.Column(visible=False, elem_id="truth-paint") as paint_place:
        painter = make_painter(classes, elem_id="truth-painter", language=language)
    others = {"file": file_place, "paint": paint_place}
    return Parts({"label": label, "painted": painter}, [label, painter], others)


def _speak(language: str) -> list[Any]:
    return [gr.update(label=LABEL[language], placeholder=DROP[language]), gr.update(lang=language)]


def _wire(parts: Parts, around: Surroundings) -> None:
    places = [parts.others["file"], parts.others["paint"]]
    source = around.controls["source"]
    gr.on(
        [source.change, around.board.change],  # a lab sheet sets the source while the lesson may be out of sight
        lambda value: [gr.update(visible=value == kind) for kind in ("file", "paint")],
        source,
        places,
        **around.light,
    )
    # The canvas needs the photo when it comes into sight, and when the board has answered about another one.
    painter = parts.inputs["painted"]
    for trigger in (painter.wants, around.board.change):
        inputs = [around.photo, around.language, source]
        trigger(_give_photo, inputs, painter, **{**around.heavy, "show_progress": "hidden"})


def _give_photo(photo: Any, language: str, source: str) -> Any:
    if source != "paint":
        return gr.skip()
    try:
        image = open_photo(photo, language)
    except gr.Error:  # none, or the tab "Segment" has said what is wrong with it
        return gr.update(photo=None)
    return gr.update(photo=painter_photo(image, fingerprint(image)))


LESSON = Lesson(
    key="truth",
    title=both("Ground truth", "真值标签"),
    tells=[
        both(
            "A score needs a label: a picture in which people have given every pixel its class. IoU divides the pixels "
            "that label and network both call cat by those that at least one of them calls cat.",
            "要评分，先要有标签：一张由人给每个像素标出类别的图。IoU 用“标签和网络都说是猫”的像素数，"
            "除以“至少一方说是猫”的像素数。",
        ),
        both(
            "Most pixels lie far from any border, inside a thing or in the background, where the networks are mostly "
            "right. So the curve looks only at a band along the label's borders and makes it wider step by step.",
            "大部分像素远离边界，在物体或背景内部，那里各个网络大多正确。"
            "所以曲线只看标签边界附近的一条带，再把它一步步加宽。",
        ),
    ],
    do=both(
        "Give a label of your photo, or paint one: outline the object, fill it, make the rest background.",
        "提供这张照片的标签，或自己画一个：勾出轮廓，填充，其余设为背景。",
    ),
    notice=both(
        "Two networks with nearly the same mIoU can differ in the narrow bands. Where is the red: inside, or along the "
        "outlines? And how sure are you of your own label there?",
        "mIoU 几乎相同的两个网络，在窄的边界带里可能差别很大。红色在内部，还是沿着轮廓？"
        "那里你对自己的标签又有多大把握？",
    ),
    paper=both(
        "IoU: Everingham et al., IJCV 2010 (PASCAL VOC). Bands: Kohli, Ladický, Torr, IJCV 2009; used in DeepLab v1, "
        "Chen et al., ICLR 2015. Boundary F: Csurka, Larlus, Perronnin, BMVC 2013",
        "IoU：Everingham 等，IJCV 2010（PASCAL VOC）。边界带：Kohli、Ladický、Torr，IJCV 2009；DeepLab v1 中使用，"
        "Chen 等，ICLR 2015。边界 F 值：Csurka、Larlus、Perronnin，BMVC 2013",
    ),
    controls=[
        choice(
            "source",
            both("The label", "标签"),
            [(both("a file", "标签文件"), "file"), (both("my own painting", "我自己画"), "paint")],
        ),
        networks(),
        switch("skips", both("also U-Net without each skip", "同时看去掉各跳跃连接的 U-Net")),
    ],
    answer=answer,
    extra=Extra(("label", "painted"), _build, _speak, _wire),
)

"""Lesson: a quiz. Three masks without names: which network made which, and how can one tell?

The order of the masks follows from a secret of the round, which stays on the server, and from the photo. So a new
photo is a new order without any event, and before the reveal nothing that is sent to the browser depends on names.
"""

from __future__ import annotations

import html
import math
import random
import secrets
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from seg import Predictor, load_predictor
from seg.explain.deeplab import aspp_branches, encode, logits_of
from seg.explain.fcn import STRIDES, fuse_scores, score_maps
from seg.explain.shape import Shape, busiest, shape_of
from seg.explain.unet import skip_strides, unet_logits
from seg.models.deeplab import DeepLabV3
from seg.models.fcn import FCN
from seg.models.unet import UNet
from seg.render import changed_picture, disagreement, disagreement_colours, disagreement_picture, share_text
from seg.ui import log
from seg.ui.board import Block, Text, Words, both, box, cell, picture, pictures, table, text
from seg.ui.lessons import aspp, fcn, skips
from seg.ui.lessons._lesson import Extra, Lesson, Parts, Surroundings, label_picture, shares_in_words, tinted
from seg.ui.networks import default_networks, load_title
from seg.ui.photo import fingerprint, open_photo
from seg.ui.text import say

LETTERS = ("A", "B", "C")
CLEAR = 0.1  # a network stands out where its figure leads by more than this share of itself
FEW = both(
    "The quiz needs three networks with the same classes, and fewer are installed here.",
    "测验需要三个类别相同的网络，这里安装的不够。",
)

REASONS: dict[str, Words] = {
    "outline": both("a finely drawn outline", "轮廓画得细"),
    "smooth": both("a smooth, simple outline", "轮廓平滑简单"),
    "thin": both("thin parts are there", "有细长的部分"),
    "pieces": both("many small pieces", "有许多小碎块"),
    "holes": both("holes", "有空洞"),
    "guess": both("nothing, I guessed", "没有依据，猜的"),
}


def new_round() -> dict[str, Any]:
    """A secret, and nothing answered yet. It is kept on the server."""
    return {"secret": secrets.token_hex(16), "photo": None, "guesses": None, "reason": None}


def contestants() -> list[str]:
    """The three networks of the quiz; fewer where fewer are installed."""
    return default_networks()[: len(LETTERS)]


def order_of(secret: str, key: str) -> list[str]:
    """Which network made mask A, B and C, for the photo with this fingerprint."""
    names = contestants()
    random.Random(f"{secret} {key}").shuffle(names)
    return names


def answer(*, photo: Image.Image, point: tuple[float, float], round: Any = None) -> list[Block]:
    """The three masks; names and what tells them apart only when this photo's guesses have been handed in."""
    if len(contestants()) < len(LETTERS):
        return [text(FEW, finding=True)]
    now = round if isinstance(round, dict) else new_round()
    key = fingerprint(photo)
    predictors = [load_predictor(name) for name in order_of(now["secret"], key)]
    label_maps = [predictor.predict(photo).label_map for predictor in predictors]
    if same_masks(label_maps):
        return [_no_quiz()]
    blocks = [_masks(photo, predictors, label_maps)]
    if now["photo"] != key:
        return blocks
    return [*blocks, *_reveal(photo, predictors, label_maps, now["guesses"], now["reason"])]


def same_masks(label_maps: Sequence[np.ndarray]) -> bool:
    """Whether two masks have no difference: nobody can tell those apart."""
    return any(np.array_equal(first, second) for first, second in combinations(label_maps, 2))


def _no_quiz() -> Block:
    return text(
        both(
            "On this photo two of the networks answer exactly the same, so nobody can tell them apart. "
            "Choose another photo.",
            "这张照片上有两个网络的结果完全相同，谁也分不出来。请换一张照片。",
        ),
        finding=True,
    )


def _masks(photo: Image.Image, predictors: Sequence[Predictor], label_maps: Sequence[np.ndarray]) -> Block:
    classes = predictors[0].card.classes
    shown = [
        label_picture(photo, label_map, classes, both(f"Mask {letter}", f"结果 {letter}"))
        for letter, label_map in zip(LETTERS, label_maps, strict=True)
    ]
    return pictures(*shown, columns=3)


def _reveal(
    photo: Image.Image,
    predictors: Sequence[Predictor],
    label_maps: Sequence[np.ndarray],
    guesses: Sequence[str],
    reason: str,
) -> list[Block]:
    shapes = [shape_of(label_map) for label_map in label_maps]
    titles = [predictor.card.title for predictor in predictors]
    right = [guess == predictor.card.name for guess, predictor in zip(guesses, predictors, strict=True)]
    rows = [
        [f"{letter}", load_title(guess), title, both("right", "对") if hit else both("wrong", "错")]
        for letter, guess, title, hit in zip(LETTERS, guesses, titles, right, strict=True)
    ]
    head: list[Text] = [both("Mask", "结果"), both("you said", "你说"), both("it was", "实际是"), ""]
    return [
        text(both(f"{sum(right)} of 3 right.", f"3 个中对了 {sum(right)} 个。"), finding=True),
        table(head, rows),
        text(about_reason(reason, titles, shapes), finding=True),
        _measures(titles, shapes),
        *_differences(photo, predictors, label_maps),
        *_probes(photo, predictors, label_maps),
        _thin(photo, titles, shapes),
    ]


def about_reason(reason: str, titles: Sequence[str], shapes: Sequence[Shape]) -> Words:
    """Whether the trait that somebody went by sets one network apart on this photo: the numbers, not a rule."""
    if reason == "guess":
        return both(
            "You guessed. Here is what can be counted on this photo:", "你是猜的。下面是这张照片上可以数出来的："
        )
    values = {
        "outline": [shape.outline for shape in shapes],
        "smooth": [-shape.outline for shape in shapes],
        "thin": [shape.thin_share for shape in shapes],
        "pieces": [float(shape.pieces) for shape in shapes],
        "holes": [float(shape.holes) for shape in shapes],
    }[reason]
    words = REASONS[reason]
    ranked = sorted((value for value in values if not math.isnan(value)), reverse=True)
    if len(ranked) < 2 or ranked[0] - ranked[1] <= CLEAR * abs(ranked[0]):
        return both(
            f"You went by: {words['en']}. By count, that sets no single network apart here.",
            f"你的依据：{words['zh']}。按数值看，它在这里并没有区分出某一个网络。",
        )
    title = titles[values.index(ranked[0])]
    return both(
        f"You went by: {words['en']}. By count, that fits {title} best on this photo.",
        f"你的依据：{words['zh']}。按数值看，这张照片上最符合的是 {title}。",
    )


def _measures(titles: Sequence[str], shapes: Sequence[Shape]) -> Block:
    head = [
        both("Network", "网络"),
        both("outline pixels per 1000 object pixels", "每 1000 个物体像素中的轮廓像素"),
        both("pieces", "块数"),
        both("holes", "空洞"),
        both("thin parts", "细长部分"),
    ]
    rows: list[list[Any]] = [
        [
            title,
            "–" if math.isnan(shape.outline) else f"{shape.outline:.0f}",
            shape.pieces,
            shape.holes,
            "–" if math.isnan(shape.thin_share) else share_text(shape.thin_share),
        ]
        for title, shape in zip(titles, shapes, strict=True)
    ]
    return table(head, rows, title=both("What can be counted", "可以数出来的"))


def _thin(photo: Image.Image, titles: Sequence[str], shapes: Sequence[Shape]) -> Block:
    shown = [picture(changed_picture(photo, shape.thin), title) for title, shape in zip(titles, shapes, strict=True)]
    return pictures(*shown, title=both("Thin parts and sharp corners (red)", "细长部分和尖角（红色）"), columns=3)


def _differences(photo: Image.Image, predictors: Sequence[Predictor], label_maps: Sequence[np.ndarray]) -> list[Block]:
    """Each outline, enlarged where the masks differ most, and the map of all differences."""
    codes = disagreement(label_maps)
    size = max(8, min(photo.size) // 3)
    x, y = busiest(codes != 0, size)
    classes = predictors[0].card.classes
    titles = [predictor.card.title for predictor in predictors]
    crops = [
        picture(
            title=title,
            alt=shares_in_words(label_map[y : y + size, x : x + size], classes),
            **tinted(photo, label_map, classes, opacity=0.3, crop=(x, y, x + size, y + size)),
        )
        for title, label_map in zip(titles, label_maps, strict=True)
    ]
    shares = np.bincount(codes.ravel(), minlength=len(titles) + 2) / codes.size
    meanings = [
        both("all agree", "全部一致"),
        *(both(f"only {title} differs", f"只有 {title} 不同") for title in titles),
        both("all three differ", "三个都不同"),
    ]
    rows = [
        [cell(words, swatch=colour), share_text(float(share))]
        for words, colour, share in zip(meanings, disagreement_colours(len(titles)), shares, strict=True)
    ]
    drawn = disagreement_picture(codes, count=len(titles))
    edge = box(x, y, x + size, y + size)
    return [
        pictures(*crops, title=both("Outlines where they differ most", "分歧最大处的轮廓"), columns=3),
        pictures(
            picture(
                drawn, both("Where they differ (the square is shown above)", "不同之处（方框即上图）"), shapes=[edge]
            ),
            columns=2,
        ),
        table([both("Colour", "颜色"), both("share of the photo", "占照片的比例")], rows),
    ]


def _probes(photo: Image.Image, predictors: Sequence[Predictor], label_maps: Sequence[np.ndarray]) -> list[Block]:
    """Each network once more without the part that is its own: what the lessons on it take away, here side by side."""
    shown = []
    for predictor, label_map in zip(predictors, label_maps, strict=True):
        if (probe := without_its_own(predictor, photo)) is None:
            continue
        missing, lesson, ids = probe
        share = share_text(float((ids != label_map).mean()))
        note = both(
            f"{missing['en']}: {share} of the pixels change. See the lesson “{lesson.title['en']}”.",
            f"{missing['zh']}：{share} 的像素改变标签。见“{lesson.title['zh']}”一课。",
        )
        shown.append(picture(changed_picture(photo, ids != label_map), predictor.card.title, note=note))
    title = both(
        "What each network has from the part that is its own (red: labels that change without it)",
        "每个网络从自己特有的部分得到什么（红色：去掉它之后改变的标签）",
    )
    return [pictures(*shown, title=title, columns=3)] if shown else []


@torch.inference_mode()
def without_its_own(predictor: Predictor, photo: Image.Image) -> tuple[Words, Lesson, np.ndarray] | None:
    """What is missing, the lesson about it, and the label map (H, W) without it; None for networks of other kinds."""
    network, preprocess = predictor.network, predictor.card.preprocess
    x, geometry = preprocess.apply(photo)
    if isinstance(network, FCN) and network.finest_stride < STRIDES[0]:
        missing, lesson = both("without its skips", "去掉跳跃连接"), fcn.LESSON
        logits = fuse_scores(network, score_maps(network, x), x, keep=STRIDES[:1]).logits
    elif isinstance(network, UNet):
        missing, lesson = both("without the skips at strides 2 and 4", "去掉步幅 2 和 4 的跳跃连接"), skips.LESSON
        logits = unet_logits(network, x, ["zero" if stride <= 4 else "keep" for stride in skip_strides(network)])
    elif isinstance(network, DeepLabV3):
        missing, lesson = both("without image pooling", "关掉全局池化"), aspp.LESSON
        branches = aspp_branches(network, encode(network, x))
        logits = logits_of(network, branches, geometry.network_size, muted={len(branches) - 1})
    else:
        return None
    return missing, lesson, preprocess.restore_labels(logits, geometry)[0]


# --- guesses, score and rounds ----------------------------------------------------------------------------------------

WHICH = both("Mask {letter} is by", "结果 {letter} 来自")
WHY = both("What told them apart?", "你的依据是什么？")
CHECK = both("Check", "核对")
AGAIN = both("New round", "再来一轮")
RESET = both("Reset the score", "清零")
NO_SCORE = {"right": 0, "rounds": 0}


def counted(score: Any) -> dict[str, int]:
    """The score that a browser has kept; nothing counted where it is none."""
    right, rounds = (score.get(name) if isinstance(score, dict) else None for name in ("right", "rounds"))
    if type(right) is int and type(rounds) is int and 0 <= right <= len(LETTERS) * rounds < 10**6:
        return {"right": right, "rounds": rounds}
    return dict(NO_SCORE)


def score_words(score: Any, language: str) -> str:
    """The score as HTML, in a sentence."""
    known = counted(score)
    right, rounds = known["right"], known["rounds"]
    of = len(LETTERS) * rounds
    english = f"Your score: {right} of {of} masks, {rounds} round{'' if rounds == 1 else 's'}."
    words = both(english, f"你的得分：{of} 个结果中对了 {right} 个，共 {rounds} 轮。")
    if not rounds:
        words = both("No round finished yet.", "还没有完成一轮。")
    return f"<p>{html.escape(words[language])}</p>"


@log.request("page/lab/quiz/check")
def hand_in(
    photo: Any, language: str, now: Any, score: Any, a: Any, b: Any, c: Any, reason: Any
) -> tuple[Any, dict[str, int]]:
    """The round with its guesses, and the score that counts them; a second time for one photo counts nothing.

    Raises:
        gr.Error: something is missing: photo, a network for each mask, or the reason.
    """
    image = open_photo(photo, language)
    key, guesses, known = fingerprint(image), [a, b, c], counted(score)
    if len(contestants()) < len(LETTERS) or now["photo"] == key:
        return now, known
    if sorted(map(str, guesses)) != sorted(contestants()) or reason not in REASONS:
        raise gr.Error(say(language, "quiz_incomplete"), title=say(language, "error_title"), print_exception=False)
    order = order_of(now["secret"], key)
    if same_masks([load_predictor(name).predict(image).label_map for name in order]):
        return now, known
    right = sum(guess == name for guess, name in zip(guesses, order, strict=True))
    done = {**now, "photo": key, "guesses": guesses, "reason": reason}
    return done, {"right": known["right"] + right, "rounds": known["rounds"] + 1}


def _reasons(language: str) -> list[tuple[str, str]]:
    return [(words[language], key) for key, words in REASONS.items()]


def _which(letter: str, language: str) -> str:
    return WHICH[language].format(letter=letter)


def _build(language: str) -> Parts:
    choices = [(load_title(name), name) for name in contestants()]
    with gr.Row(elem_classes="seglab-lesson-controls"):
        guesses = [
            gr.Radio(choices, label=_which(letter, language), elem_id=f"quiz-{letter}", min_width=200)
            for letter in LETTERS
        ]
    reason = gr.Radio(_reasons(language), label=WHY[language], elem_id="quiz-why")
    with gr.Row(elem_classes="seglab-actions"):
        check = gr.Button(CHECK[language], variant="primary", scale=0, min_width=120, elem_id="quiz-check")
        again = gr.Button(AGAIN[language], scale=0, min_width=150, elem_id="quiz-again")
        reset = gr.Button(RESET[language], scale=0, min_width=190, elem_id="quiz-reset")
        shown = gr.HTML(score_words(None, language), elem_id="quiz-score", elem_classes="seglab-note")
    others = {"guesses": guesses, "reason": reason, "check": check, "again": again, "reset": reset}
    spoken = [*guesses, reason, check, again, reset]
    return Parts({"round": gr.State(None)}, spoken, {**others, "shown": shown})


def _speak(language: str) -> list[Any]:
    return [
        *(gr.update(label=_which(letter, language)) for letter in LETTERS),
        gr.update(label=WHY[language], choices=_reasons(language)),
        *(gr.update(value=words[language]) for words in (CHECK, AGAIN, RESET)),
    ]


def _wire(parts: Parts, around: Surroundings) -> None:
    of, now = parts.others, parts.inputs["round"]
    answers = [*of["guesses"], of["reason"]]
    # Laid out here and not in the lesson: what is out of sight is not read from the browser's storage. The same key and
    # place after a restart of the server, so that a score outlives it.
    score = gr.BrowserState(NO_SCORE, storage_key="seglab-quiz", secret="seglab-quiz")
    gr.on(None, new_round, None, now, **around.light)  # when the page opens
    handed = [around.photo, around.language, now, score, *answers]
    of["check"].click(hand_in, handed, [now, score], **around.heavy)
    queued = {**around.light, "queue": True}  # or Gradio does not tell that the state has changed
    of["again"].click(lambda: [new_round(), *(None for _ in answers)], None, [now, *answers], **queued)
    around.seen.change(lambda: [None for _ in answers], None, answers, **around.light)
    of["reset"].click(lambda: dict(NO_SCORE), None, score, **around.light)
    # Without triggers: when the page opens, and when score or language change.
    gr.on(None, score_words, [score, around.language], of["shown"], **around.light)


LESSON = Lesson(
    key="quiz",
    title=both("Quiz: which network?", "测验：是哪个网络？"),
    tells=[
        both(
            "Three networks have labelled your photo. Their names are hidden, and the order changes every round.",
            "三个网络给你的照片做了分割。名字隐藏起来了，每一轮顺序都会变。",
        ),
        both(
            "You know how they are built: FCN adds coarse scores, U-Net hands fine features up through its skips, "
            "DeepLab keeps its features denser and looks at several scales. Does it show?",
            "你已经知道它们的结构：FCN 把粗略的得分相加，U-Net 用跳跃连接送来细致的特征，"
            "DeepLab 让特征更密、并同时看多个尺度。从结果里看得出来吗？",
        ),
    ],
    do=both(
        "Say which mask is whose, and what you went by. Then check.",
        "说出每个结果来自哪个网络，以及你的依据。然后核对。",
    ),
    notice=both(
        "After the check the shapes of the masks are measured, and each network answers once more without the part "
        "that is its own. Does your reason hold on this photo? And on the next?",
        "核对之后会统计各个结果的形状特征，并让每个网络去掉自己特有的部分再答一次。"
        "你的依据在这张照片上成立吗？下一张呢？",
    ),
    paper=both(
        "FCN: Long, Shelhamer, Darrell, CVPR 2015. U-Net: Ronneberger, Fischer, Brox, MICCAI 2015. DeepLabV3: Chen, "
        "Papandreou, Schroff, Adam, 2017",
        "FCN：Long, Shelhamer, Darrell，CVPR 2015。U-Net：Ronneberger, Fischer, Brox，MICCAI 2015。DeepLabV3：Chen, "
        "Papandreou, Schroff, Adam，2017",
    ),
    controls=[],
    answer=answer,
    extra=Extra(("round",), _build, _speak, _wire),
)

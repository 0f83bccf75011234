"""Lesson: a transposed convolution with its numbers, step by step; no photo needed."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from seg import list_checkpoints, load_predictor
from seg.classes import VOC
from seg.explain.fcn import UpsamplingKernel, upsampling_kernels
from seg.explain.upsampling import Setting, Steps, bilinear, overlap, repeating_pattern, transposed_convolution
from seg.models.fcn import FCN
from seg.render import signed_picture
from seg.ui.board import Block, Words, both, grid, grids, picture, pictures, text
from seg.ui.lessons._lesson import Control, Lesson, choice, slider

INPUTS: dict[str, np.ndarray] = {
    "ones": np.ones((3, 3)),
    "single": np.pad([[1.0]], 1),
    "ramp": np.arange(1.0, 10.0).reshape(3, 3),
}
LEARNED_LAYER = "up16to8"  # FCN-8s's second doubling: 4 x 4 weights, small enough to read


def answer(
    *,
    photo: Any,
    point: tuple[float, float],
    start: str,
    weights: str,
    kernel_size: int,
    stride: int,
    padding: int,
    output_padding: int,
    dilation: int,
    window: int,
) -> list[Block]:
    """The numbers of every step, and how many contributions meet in each output; photo and point are not needed."""
    x = INPUTS[start]
    learned = _learned(weights)
    if weights.isdigit() and not learned:
        return [text(NO_FCN)]
    kernel = _kernel(weights, kernel_size, learned)
    setting = Setting(len(kernel), stride, padding, output_padding, dilation)
    given = grids(
        grid(x, both("Input", "输入")),
        grid(kernel, both("Kernel", "卷积核")),
        title=both("What goes in", "输入什么"),
    )
    blocks = [*_about_kernel(weights, kernel_size, setting), given, _formula(setting, len(x))]
    if refusal := _refusal(setting, len(x)):
        return [*blocks, text(refusal, finding=True), *_learned_blocks(learned)]
    steps = transposed_convolution(x, kernel, setting)
    return [
        *blocks,
        *_step_blocks(steps, setting, window),
        *_overlap_blocks(x.shape, kernel, setting),
        *_learned_blocks(learned),
    ]


def _learned(weights: str) -> list[UpsamplingKernel]:
    """FCN-8s's kernels of the class that `weights` names; none for a kernel made by hand, or without FCN-8s."""
    if not weights.isdigit() or "fcn8s" not in list_checkpoints():
        return []
    predictor = load_predictor("fcn8s")
    assert isinstance(predictor.network, FCN)
    return upsampling_kernels(predictor.network, min(int(weights), len(predictor.card.classes) - 1))


def _kernel(weights: str, kernel_size: int, learned: list[UpsamplingKernel]) -> np.ndarray:
    if learned:
        return next(kernel.learned for kernel in learned if kernel.layer == LEARNED_LAYER).astype(np.float64)
    return bilinear(kernel_size) if weights == "bilinear" else np.ones((kernel_size, kernel_size))


def _about_kernel(weights: str, kernel_size: int, setting: Setting) -> list[Block]:
    if weights == "ones":
        return []
    if weights == "bilinear":
        size, stride = setting.kernel_size, setting.stride
        if size in (2 * stride, 2 * stride - 1) and setting.dilation == 1:
            en = f"Size {size} fits stride {stride}: this kernel interpolates bilinearly. "
            en += "FCN starts with such kernels, of twice the stride."
            zh = f"大小 {size} 与步幅 {stride} 相配：这个卷积核做的就是双线性插值。"
            zh += "FCN 就从这样的卷积核（大小为步幅的两倍）开始训练。"
        else:
            en = "It interpolates only where its size is twice the stride, or one less, and the dilation is 1: "
            en += "try size 4, stride 2."
            zh = "只有当大小是步幅的两倍（或两倍减一）、且扩张率为 1 时，它做的才是双线性插值：试试大小 4、步幅 2。"
        return [text(both(en, zh))]
    en = f"This is FCN-8s's layer {LEARNED_LAYER}: 4 × 4 weights, made for stride 2 and padding 1."
    zh = f"这是 FCN-8s 的 {LEARNED_LAYER} 层：4 × 4 个权重，配合步幅 2、填充 1 使用。"
    if kernel_size != setting.kernel_size:
        en += " So the kernel size is 4 here, whatever the slider says."
        zh += "所以这里的卷积核大小是 4，与滑块无关。"
    return [text(both(en, zh))]


def _formula(setting: Setting, side: int) -> Block:
    """The output's size with the numbers put in."""
    sum_ = (
        f"({side} − 1) × {setting.stride} − 2 × {setting.padding} + {setting.dilation} × ({setting.kernel_size} − 1)"
        f" + {setting.output_padding} + 1 = {setting.output_size(side)}"
    )
    return text(
        both(
            "Output size = (input − 1) × stride − 2 × padding + dilation × (kernel − 1) + output padding + 1. "
            f"Here: {sum_}.",
            f"输出大小 =（输入 − 1）× 步幅 − 2 × 填充 + 扩张率 ×（卷积核 − 1）+ 输出填充 + 1。这里：{sum_}。",
        )
    )


def _refusal(setting: Setting, side: int) -> Words | None:
    """Why these numbers make no transposed convolution."""
    if setting.ambiguous:
        return both(
            f"These numbers do not go together: output padding {setting.output_padding} must be smaller than the "
            f"stride ({setting.stride}) or the dilation ({setting.dilation}). It only chooses among the sizes that a "
            "convolution with this stride would shrink to the same input. Make it smaller, or the stride larger.",
            f"这些数字不能搭配：输出填充 {setting.output_padding} 必须小于步幅（{setting.stride}）或扩张率"
            f"（{setting.dilation}）。步幅大于 1 的卷积会把几种大小缩成同一种，输出填充只是在它们中间选一种。"
            "请减小输出填充，或增大步幅。",
        )
    if setting.output_size(side) < 1:
        return both(
            f"Nothing is left: padding {setting.padding} cuts {2 * setting.padding} rows and columns off, and there "
            "are no more than that. Make the padding smaller, or the kernel or the stride larger.",
            f"什么也没剩下：填充 {setting.padding} 会切掉 {2 * setting.padding} 行和列，而总共也不超过这么多。"
            "请减小填充，或增大卷积核、步幅。",
        )
    return None


def _step_blocks(steps: Steps, setting: Setting, window: int) -> list[Block]:
    columns = steps.output.shape[1]
    row, column = divmod(round(window / 100 * (steps.output.size - 1)), columns)
    side = len(steps.turned)
    seen = [(r, c) for r in range(row, row + side) for c in range(column, column + side)]
    before = setting.extent - setting.padding
    after = before + setting.output_padding
    zeros = setting.stride - 1
    return [
        grids(
            grid(
                steps.spread,
                both("1. Spread the input", "1. 把输入散开"),
                note=both(
                    f"zeros between neighbours: stride − 1 = {zeros}", f"相邻两数之间 0 的个数：步幅 − 1 = {zeros}"
                ),
            ),
            grid(
                steps.padded,
                both("2. Pad with zeros", "2. 四周补 0"),
                note=both(
                    f"dilation × (kernel − 1) − padding = {_padded(before)[0]} at the top and left, with the output "
                    f"padding {_padded(after)[0]} at the bottom and right. Thick rims: the window.",
                    f"扩张率 ×（卷积核 − 1）− 填充：上边和左边{_padded(before)[1]}，加上输出填充，"
                    f"下边和右边{_padded(after)[1]}。粗框是窗口。",
                ),
                marked=seen,
            ),
            title=both("Steps 1 and 2: make room", "第 1、2 步：腾出位置"),
        ),
        grids(
            grid(
                steps.turned,
                both("3. Turn the kernel by 180° and slide it", "3. 把卷积核旋转 180°，滑动"),
                note=both(
                    f"zeros between its weights: dilation − 1 = {setting.dilation - 1}",
                    f"权重之间 0 的个数：扩张率 − 1 = {setting.dilation - 1}",
                ),
            ),
            grid(
                steps.output,
                both("Output", "输出"),
                note=both(f"{steps.output.shape[0]} × {columns}", f"{steps.output.shape[0]} × {columns}"),
                marked=[(row, column)],
            ),
            title=both("Step 3: an ordinary convolution of stride 1", "第 3 步：步幅为 1 的普通卷积"),
        ),
        _sum_in_words(steps, row, column),
    ]


def _padded(count: int) -> tuple[str, str]:
    if count < 0:
        return f"{count}, so {-count} are cut off,", f"切掉 {-count} 行（列）"
    return str(count), f"补 {count} 行（列）"


def _sum_in_words(steps: Steps, row: int, column: int) -> Block:
    """The marked output as a sum of products; those with a zero are left out."""
    window, result = steps.window(row, column), f"{steps.output[row, column]:.4g}"
    products = [
        f"{value:.4g} × {weight:.4g}"
        for value, weight in zip(window.ravel(), steps.turned.ravel(), strict=True)
        if value and weight
    ]
    sum_ = " + ".join(products) or "0"
    en = f"The marked output, row {row + 1}, column {column + 1}: {sum_} = {result}"
    zh = f"粗框中的输出，第 {row + 1} 行第 {column + 1} 列：{sum_} = {result}"
    return text(both(f"{en} (products with 0 left out).", f"{zh}（省略含 0 的乘积）。"), finding=True)


def _overlap_blocks(shape: tuple[int, ...], kernel: np.ndarray, setting: Setting) -> list[Block]:
    counts = overlap((shape[0], shape[1]), setting)
    meeting = repeating_pattern(np.ones_like(kernel), setting)
    pattern = repeating_pattern(kernel, setting)
    every = setting.stride
    if np.ptp(meeting) == 0:
        en = f"Far from the border every output gets {meeting[0, 0]:.0f} contributions: no checkerboard from overlap."
        zh = f"远离边缘处，每个输出都得到 {meeting[0, 0]:.0f} 份贡献：重叠不会造成棋盘格。"
    else:
        low, high = int(meeting.min()), int(meeting.max())
        en = f"Far from the border outputs get {low} to {high} contributions, again and again every {every} pixels: "
        zh = f"远离边缘处，输出得到 {low} 到 {high} 份贡献，每 {every} 个像素重复一次："
        if setting.dilation == 1:
            en += f"a checkerboard, because kernel size {setting.kernel_size} is no multiple of the stride {every}."
            zh += f"这就是棋盘格，因为卷积核大小 {setting.kernel_size} 不是步幅 {every} 的倍数。"
        else:
            en += "a checkerboard."
            zh += "这就是棋盘格。"
    darkest, brightest = f"{pattern.min():.3g}", f"{pattern.max():.3g}"
    if np.ptp(pattern) < 1e-9:
        flat = both(
            f"With these weights a flat input of ones stays flat far from the border: {brightest} everywhere.",
            f"用这些权重，全 1 的平坦输入在远离边缘处仍然平坦：处处都是 {brightest}。",
        )
    else:
        flat = both(
            f"With these weights a flat input of ones does not stay flat: values from {darkest} to {brightest}, even "
            "far from the border.",
            f"用这些权重，全 1 的平坦输入不再平坦：即使远离边缘，数值也从 {darkest} 到 {brightest}。",
        )
    return [
        grids(
            grid(
                counts,
                both("How many products meet in each output", "每个输出里有多少个乘积相加"),
                note=both("counted without the made-up zeros", "不算补上的 0"),
                digits=0,
            ),
            grid(
                pattern,
                both("Ones in, far from the border", "输入全 1，远离边缘处"),
                note=both(f"repeats every {every} pixels", f"每 {every} 个像素重复一次"),
                digits=3,
            ),
            title=both("Overlap: where checkerboards come from", "重叠：棋盘格从哪里来"),
        ),
        text(both(en, zh), finding=True),
        text(flat, finding=True),
    ]


def _learned_blocks(kernels: list[UpsamplingKernel]) -> list[Block]:
    """Each of FCN-8s's kernels of one class beside the bilinear one it started as; one that stayed so, alone."""
    blocks: list[Block] = [text(ALL_LEARNED)] if kernels else []
    for kernel in kernels:
        classes = load_predictor("fcn8s").card.classes
        difference = kernel.learned - kernel.start
        largest = float(np.abs(difference).max())
        fixed = largest == kernel.other_weight == 0
        strength = float(kernel.learned.sum()) / kernel.factor**2  # mean of the repeating pattern
        parts = [(both("Bilinear", "双线性"), kernel.start)]
        if not fixed:
            parts = [
                (both("Start: bilinear", "起点：双线性"), kernel.start),
                (both("Learned", "学到的"), kernel.learned),
                (both("Difference", "差"), difference),
            ]
        title = both(
            f"FCN-8s, layer {kernel.layer}: {kernel.factor} times larger",
            f"FCN-8s，{kernel.layer} 层：放大 {kernel.factor} 倍",
        )
        if len(kernel.start) <= 4:
            blocks.append(grids(*(grid(values, name) for name, values in parts), title=title))
        else:
            blocks.append(
                pictures(*(_kernel_picture(values, name) for name, values in parts), title=title, columns=3),
            )
        if fixed:
            blocks.append(text(STAYS))
            continue
        en, zh = classes.names[kernel.other], classes.names_zh[kernel.other]
        blocks.append(
            text(
                both(
                    f"Largest change of a weight: {largest:.3f}. On average this layer multiplies the class's scores "
                    f"by {strength:.2f}; bilinear: by 1. Weights from other classes started at 0; the largest is now "
                    f"{kernel.other_weight:+.3f}, from “{en}”.",
                    f"权重的最大变化：{largest:.3f}。平均来说，这一层把该类的得分乘以 {strength:.2f}；双线性是乘以 1。"
                    f"来自其他类的权重从 0 开始训练，现在最大的是 "
                    f"{kernel.other_weight:+.3f}，来自“{zh}”。",
                ),
                finding=True,
            )
        )
    return blocks


def _kernel_picture(values: np.ndarray, name: Words) -> dict[str, Any]:
    note = both(
        f"{values.shape[1]} × {values.shape[0]}, {values.min():.2f} … {values.max():.2f}; green above 0, orange below",
        f"{values.shape[1]} × {values.shape[0]}，{values.min():.2f} … {values.max():.2f}；绿色大于 0，橙色小于 0",
    )
    return picture(signed_picture(values), name, note=note, pixelated=True)


ALL_LEARNED = both(
    "Below: all three upsampling layers of FCN-8s, for this class. Each started as bilinear interpolation; the two "
    "that double the scores went on learning.",
    "下面是 FCN-8s 三个上采样层中用于这一类的卷积核。"
    "每个都从双线性插值开始；其中两个把得分放大 2 倍的层继续参加了训练。",
)
STAYS = both(
    "It is not trained, as in the paper. When we trained it too, it drew a dotted pattern along outlines: a kernel of "
    "stride 8 has 64 parts, each for other pixels, and they came to differ. Made bilinear again, FCN-8s drew smooth "
    "outlines and its mIoU on VOC 2012 val rose a little.",
    "它不参加训练，与论文一样。我们也训练过它：轮廓上会出现点状花纹，因为步幅 8 的卷积核有 64 个部分，"
    "各管不同的像素，训练后它们变得不一致。改回双线性后，FCN-8s 的轮廓平滑了，"
    "在 VOC 2012 val 上的 mIoU 也略有提高。",
)
NO_FCN = both(
    "FCN-8s is not installed here, so there is no learned kernel to show.",
    "这里没有安装 FCN-8s，所以没有学到的卷积核可看。",
)
_LEARNED_CHOICES = [
    (both(f"FCN-8s: {en}", f"FCN-8s：{zh}"), str(class_id))
    for class_id, (en, zh) in enumerate(zip(VOC.names, VOC.names_zh, strict=True))
]
LESSON = Lesson(
    key="upsampling",
    title=both("Transposed convolution, step by step", "转置卷积，一步一步"),
    tells=[
        both(
            "FCN makes its small score maps large again with a transposed convolution. Every input number stamps the "
            "kernel, times that number, onto the output. The stamps lie as many pixels apart as the stride says; where "
            "they overlap they are added.",
            "FCN 用转置卷积把小的得分图重新变大。每个输入数都把卷积核乘上这个数，像印章一样盖到输出上。"
            "相邻印章的距离就是步幅，重叠的地方相加。",
        ),
        both(
            "The same result comes from an ordinary convolution: spread the input with zeros, pad it, and slide the "
            "kernel turned by 180°. So it can be learned like any convolution.",
            "普通卷积也能得到同样的结果：先用 0 把输入散开，再在四周补 0，然后滑动旋转 180° 的卷积核。"
            "所以它和其他卷积一样可以学习。",
        ),
    ],
    do=both(
        "Take kernel size 3 and stride 2, then kernel size 4. Slide the window over the padded input and follow the "
        "sum.",
        "先用卷积核大小 3、步幅 2，再把大小改成 4。在补好 0 的输入上滑动窗口，跟着看求和。",
    ),
    notice=both(
        "Where the stamps overlap unevenly, even a flat input gets a checkerboard. The right weights can even it out: "
        "try the bilinear kernel.",
        "印章重叠得不均匀时，平坦的输入也会出现棋盘格。合适的权重可以把它抹平：试试双线性卷积核。",
    ),
    paper=both(
        "Long, Shelhamer, Darrell, CVPR 2015, section 3.3; Dumoulin and Visin 2016, “A guide to convolution arithmetic "
        "for deep learning”, chapter 4; Odena, Dumoulin, Olah 2016, “Deconvolution and Checkerboard Artifacts”",
        "Long, Shelhamer, Darrell，CVPR 2015，第 3.3 节；Dumoulin 和 Visin 2016，“A guide to convolution arithmetic "
        "for deep learning”，第 4 章；Odena, Dumoulin, Olah 2016，“Deconvolution and Checkerboard Artifacts”",
    ),
    controls=[
        choice(
            "start",
            both("Input", "输入"),
            [
                (both("all ones", "全是 1"), "ones"),
                (both("a single one", "只有一个 1"), "single"),
                (both("1 to 9", "1 到 9"), "ramp"),
            ],
        ),
        Control(
            "weights",
            gr.Dropdown,
            both("Kernel weights", "卷积核的权重"),
            {"value": "ones"},
            [(both("all ones", "全是 1"), "ones"), (both("bilinear", "双线性"), "bilinear"), *_LEARNED_CHOICES],
        ),
        slider("kernel_size", both("Kernel size", "卷积核大小"), 1, 5, step=1, value=3),
        slider("stride", both("Stride", "步幅"), 1, 4, step=1, value=2),
        slider("padding", both("Padding", "填充"), 0, 4, step=1, value=0),
        slider("output_padding", both("Output padding", "输出填充"), 0, 3, step=1, value=0),
        slider("dilation", both("Dilation", "扩张率"), 1, 3, step=1, value=1),
        slider(
            "window",
            both("Window, % of the way", "窗口位置，%"),
            0,
            100,
            step=1,
            value=50,
        ),
    ],
    answer=answer,
    needs_photo=False,
)

"""The lessons of the lab, in the order of the list. A new lesson is one file here and one line below."""

from seg.ui.lessons import aspp, atrous, family, fcn, flow, pixel, quiz, robustness, skips, truth, upsampling
from seg.ui.lessons._lesson import Control, Extra, Lesson, Parts, Surroundings, choice, several, slider, switch

LESSONS: tuple[Lesson, ...] = (
    fcn.LESSON,
    upsampling.LESSON,
    skips.LESSON,
    atrous.LESSON,
    aspp.LESSON,
    family.LESSON,
    pixel.LESSON,
    truth.LESSON,
    robustness.LESSON,
    flow.LESSON,
    quiz.LESSON,
)

__all__ = ["LESSONS", "Control", "Extra", "Lesson", "Parts", "Surroundings", "choice", "several", "slider", "switch"]

"""README's results table, written from the cards of the shipped checkpoints, never by hand."""

from __future__ import annotations

from seg.card import ModelCard, load_card
from seg.checkpoint import CHECKPOINTS, list_checkpoints

START, END = "<!-- results:start -->", "<!-- results:end -->"
_COLUMNS = {  # heading -> alignment
    "Network": "---",
    "Checkpoint": "---",
    "mIoU": "---:",
    "Pixel accuracy": "---:",
    "Parameters": "---:",
    "Multiply-adds": "---:",
    "File": "---:",
    "Scored on": "---",
}


def shipped_cards() -> list[ModelCard]:
    """The cards in `checkpoints/`, in display order; folders in SEGLAB_CHECKPOINTS are somebody's own."""
    paths = (CHECKPOINTS / f"{name}.json" for name in list_checkpoints())
    return [load_card(path) for path in paths if path.is_file()]


def results_table(cards: list[ModelCard]) -> str:
    """The cards' figures as a Markdown table; a figure that was not measured is a dash."""
    if not cards:
        return "No checkpoint is shipped yet."
    rows = [tuple(_COLUMNS), tuple(_COLUMNS.values()), *map(_row, cards)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def with_table(readme: str, table: str) -> str:
    """README's text with the block between the two markers replaced by `table`.

    Raises:
        ValueError: the markers are not there once each, in order.
    """
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or END in before or START in rest or END in after:
        raise ValueError(f"the README needs the lines {START} and {END}, once each and in this order")
    return f"{before}{START}\n{table}\n{END}{after}"


def _row(card: ModelCard) -> tuple[str, ...]:
    height, width = card.macs_input
    return (
        card.title,
        f"`{card.name}`",
        _share(card.metrics.get("miou")),
        _share(card.metrics.get("pixel_acc")),
        f"{card.parameters / 1e6:.1f} M",
        f"{card.macs / 1e9:.1f} G at {width} x {height}",
        f"{card.weights['bytes'] / 1e6:.1f} MB",
        card.metrics.get("data", "-"),
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

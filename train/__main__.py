"""Command line: python -m train fit RECIPE.toml | eval NAME... | card"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg.card import load_card, save_card
from seg.checkpoint import CheckpointError, card_path
from seg.predictor import load_predictor
from train.cards import results_table, shipped_cards, with_table
from train.config import Recipe, load_recipe
from train.data import of_official, voc_pairs
from train.evaluate import Protocol, report_dict, score, scores_dict, with_scores
from train.figures import write_figures
from train.loop import fit, git_commit

_WIDTHS = (1, 2, 3, 5, 10, 20)  # of the trimap's bands, for the screen; the card has them all


def main() -> None:
    """Parse the command line and run one command; a mistake of the caller ends in one line that names it."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True)

    fit_parser = commands.add_parser("fit", help="train a recipe")
    fit_parser.add_argument("recipe", type=Path, help="a TOML file, for example train/recipes/fcn8s.toml")
    fit_parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    fit_parser.add_argument("--run", type=Path, help="folder for state, log and checkpoint (default runs/NAME)")
    fit_parser.add_argument("--resume", action="store_true", help="go on where the run in that folder stopped")
    fit_parser.set_defaults(command=_fit)

    eval_parser = commands.add_parser("eval", help="score checkpoints on the val list")
    eval_parser.add_argument("checkpoints", nargs="+", help="names or paths of cards")
    eval_parser.add_argument("--data", type=Path, default=Path(Recipe.data), help="VOC2012 folder")
    eval_parser.add_argument("--list", default="val", help="list in ImageSets/Segmentation")
    eval_parser.add_argument("--limit", type=int, help="score only this many images, evenly chosen")
    eval_parser.add_argument("--scales", type=_numbers, default=(1.0,), metavar="0.75,1,1.25", help="average these")
    eval_parser.add_argument("--flip", action="store_true", help="average with the mirrored photo")
    eval_parser.add_argument("--crf", action="store_true", help="refine with the fully connected CRF")
    eval_parser.add_argument("--figures", type=Path, metavar="DIR", help="draw the best, worst and some other images")
    eval_parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured, per image too")
    eval_parser.add_argument("--write", action="store_true", help="write the figures into the cards")
    eval_parser.set_defaults(command=_eval)

    card_parser = commands.add_parser("card", help="print the results table of the shipped checkpoints")
    card_parser.add_argument("--readme", type=Path, help="write the table between the markers of this file")
    card_parser.add_argument(
        "--check", action="store_true", help="with --readme: only fail if its table is out of date"
    )
    card_parser.set_defaults(command=_card)

    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except (ValueError, FileNotFoundError, FileExistsError, FloatingPointError, CheckpointError) as error:
        sys.exit(f"error: {error}")


def _fit(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe, arguments.set)
    folder = arguments.run or Path("runs") / recipe.name
    command = "python -m train " + shlex.join(sys.argv[1:])
    card = fit(recipe, folder, resume=arguments.resume, command=command)
    print(f"wrote {folder / card.name}.json and {card.weights['file']} ({card.weights['bytes'] / 1e6:.1f} MB)")


def _eval(arguments: argparse.Namespace) -> None:
    pairs = voc_pairs(arguments.data, arguments.list)
    if arguments.limit:
        pairs = pairs[:: max(1, len(pairs) // arguments.limit)][: arguments.limit]
    protocol = Protocol(arguments.scales, arguments.flip, arguments.crf)
    reports = {}
    for name in arguments.checkpoints:
        predictor = load_predictor(name)
        scores, classes = score(predictor, pairs, protocol), predictor.card.classes.names
        data = f"VOC 2012 {arguments.list}, {of_official(arguments.list, len(pairs))}"
        facts = {"data": data, "images": len(pairs), "commit": git_commit()}
        metrics = scores_dict(scores, classes)
        _print_scores(f"{' + '.join(filter(None, (predictor.card.name, protocol.name)))} on {data}", metrics)
        reports[predictor.card.name] = {**facts, "protocol": protocol.name, **report_dict(scores, classes)}
        if arguments.figures:
            files = write_figures(arguments.figures, predictor, pairs, scores, protocol)
            print(f"wrote {len(files)} figures to {arguments.figures}")
        if arguments.write:
            card = load_card(card_path(name))  # as it is now, not as it was when the predictor was loaded
            save_card(replace(card, metrics=with_scores(card.metrics, {**facts, **metrics}, protocol)), card_path(name))
    if arguments.json:
        arguments.json.write_text(json.dumps(reports) + "\n", "utf-8")


def _print_scores(title: str, metrics: dict[str, Any]) -> None:
    print(f"{title}, at the labels' own size:")
    low, high = (_share(end) for end in metrics["miou_interval"])
    print(f"  miou       {_share(metrics['miou'])}   95 % of bootstrap draws of images: {low} to {high}")
    for key in ("pixel_acc", "mean_acc", "fwiou", "boundary_f"):
        print(f"  {key:<10} {_share(metrics[key])}")
    print("  px from a label border     " + "".join(f"{width:>8}" for width in _WIDTHS))
    for key, values in metrics["trimap"].items():
        print(f"    {key:<25}" + "".join(f"{_share(values[width - 1]):>8}" for width in _WIDTHS))
    print("    class          iou     boundary f")
    for name, iou in metrics["iou"].items():
        print(f"    {name:<14} {_share(iou)}  {_share(metrics['boundary_f_by_class'][name])}")


def _share(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _card(arguments: argparse.Namespace) -> None:
    table = results_table(shipped_cards())
    if arguments.readme is None:
        if arguments.check:
            raise ValueError("--check needs --readme FILE")
        print(table)
        return
    found = arguments.readme.read_text("utf-8")
    wanted = with_table(found, table)
    if arguments.check and found != wanted:
        raise ValueError(f"{arguments.readme} is out of date; run `python -m train card --readme {arguments.readme}`")
    if not arguments.check:
        arguments.readme.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()

"""Command line: python -m train fit RECIPE.toml | eval NAME... | card"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from seg.card import save_card
from seg.checkpoint import CheckpointError, card_path
from seg.predictor import load_predictor
from train.cards import results_table, shipped_cards, with_table
from train.config import Recipe, load_recipe
from train.data import of_official, voc_pairs
from train.environment import git_commit
from train.evaluate import evaluate, metrics_dict
from train.loop import fit
from train.reference import import_torchvision
from train.state import Stopped


def main() -> None:
    """Parse the command line and run one command; a mistake of the caller ends in one line that names it."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True)

    fit_parser = commands.add_parser("fit", help="train a recipe")
    fit_parser.add_argument("recipe", type=Path, help="a TOML file, for example train/recipes/fcn8s.toml")
    fit_parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    fit_parser.add_argument(  # torchrun takes --run for a short form of its own --run-path, so --folder
        "--folder", "--run", type=Path, help="where state, log and checkpoint go (default runs/NAME)"
    )
    fit_parser.add_argument("--resume", action="store_true", help="go on where the run in that folder stopped")
    fit_parser.set_defaults(command=_fit)

    eval_parser = commands.add_parser("eval", help="score checkpoints on the val list")
    eval_parser.add_argument("checkpoints", nargs="+", help="names or paths of cards")
    eval_parser.add_argument("--data", type=Path, default=Path(Recipe.data), help="VOC2012 folder")
    eval_parser.add_argument("--list", default="val", help="list in ImageSets/Segmentation")
    eval_parser.add_argument("--limit", type=int, help="score only this many images, evenly chosen")
    eval_parser.add_argument("--write", action="store_true", help="write the figures into the cards")
    eval_parser.set_defaults(command=_eval)

    card_parser = commands.add_parser("card", help="print the results table of the shipped checkpoints")
    card_parser.add_argument("--readme", type=Path, help="write the table between the markers of this file")
    card_parser.add_argument(
        "--check", action="store_true", help="with --readme: only fail if its table is out of date"
    )
    card_parser.set_defaults(command=_card)

    reference_parser = commands.add_parser("reference", help="fetch a network that torchvision trained")
    reference_parser.add_argument("arch", help="a segmentation network of torchvision, for example fcn_resnet50")
    reference_parser.add_argument("--file", type=Path, help="its .pth file, if fetched by hand; else it is downloaded")
    reference_parser.add_argument("--out", type=Path, default=Path("runs/torchvision"), help="folder of the checkpoint")
    reference_parser.set_defaults(command=_reference)

    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:
        sys.exit("interrupted; a run goes on from its last save with --resume")
    except (ValueError, FileNotFoundError, FileExistsError, FloatingPointError, CheckpointError) as error:
        sys.exit(f"error: {error}")


def _fit(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe, arguments.set)
    folder = arguments.folder or Path("runs") / recipe.name
    command = f"{_launcher()} {shlex.join(sys.argv[1:])}"
    card = fit(recipe, folder, resume=arguments.resume, command=command)
    if card is None:  # one of several processes; the main one tells
        return
    print(f"wrote {folder / card.name}.json and {card.weights['file']} ({card.weights['bytes'] / 1e6:.1f} MB)")


def _launcher() -> str:
    local = os.environ.get("LOCAL_WORLD_SIZE")  # torchrun sets it
    return f"torchrun --nproc-per-node {local} -m train" if local else "python -m train"


def _eval(arguments: argparse.Namespace) -> None:
    pairs = voc_pairs(arguments.data, arguments.list)
    if arguments.limit:
        pairs = pairs[:: max(1, len(pairs) // arguments.limit)][: arguments.limit]
    for name in arguments.checkpoints:
        predictor = load_predictor(name)
        confusion = evaluate(predictor, pairs)
        metrics = metrics_dict(confusion, predictor.card.classes.names)
        print(f"{predictor.card.name} on {arguments.list}, {len(pairs):,} images, at the labels' own size:")
        for key in ("miou", "pixel_acc", "mean_acc", "fwiou"):
            print(f"  {key:<10} {metrics[key]:.4f}")
        for class_name, iou in metrics["iou"].items():
            print(f"    {class_name:<14} {'  -   ' if iou is None else f'{iou:.4f}'}")
        if arguments.write:
            data = f"VOC 2012 {arguments.list}, {of_official(arguments.list, len(pairs))}"
            found = {"data": data, "images": len(pairs), "commit": git_commit(), **metrics}
            save_card(replace(predictor.card, metrics=found), card_path(name))


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


def _reference(arguments: argparse.Namespace) -> None:
    card = import_torchvision(arguments.arch, arguments.out, file=arguments.file)
    print(
        f"wrote {arguments.out / card.name}.json; SEGLAB_CHECKPOINTS={arguments.out} makes page and commands offer it"
    )


if __name__ == "__main__":
    main()

"""Command line: python -m train fit RECIPE.toml | eval NAME... | card | split PAIRS.csv | shapes DIR | download"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from seg.card import ModelCard, save_card
from seg.checkpoint import CheckpointError, card_path
from seg.predictor import load_predictor
from train.cards import results_table, shipped_cards, with_table
from train.config import Recipe, load_recipe
from train.data import check_pairs, data_title, listed_pairs
from train.environment import git_commit
from train.evaluate import evaluate, metrics_dict
from train.loop import fit
from train.reference import import_torchvision
from train.shapes import LABEL_KINDS, write_shapes
from train.split import split_source, write_split
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
    eval_parser.add_argument("--data", type=Path, help="folder of the pictures (default: the recipe's)")
    eval_parser.add_argument("--list", help="list in ImageSets/Segmentation, or CSV file in --data (default: val list)")
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

    split_parser = commands.add_parser("split", help="divide pairs into train.csv, val.csv and test.csv")
    split_parser.add_argument("source", type=Path, help="a CSV file image,label; or a folder of images")
    split_parser.add_argument("labels", type=Path, nargs="?", help="with a folder of images: the folder of labels")
    split_parser.add_argument("--out", type=Path, help="folder for the lists (default: beside the source)")
    split_parser.add_argument("--seed", type=int, default=0, help="another seed gives other lists")
    split_parser.set_defaults(command=_split)

    shapes_parser = commands.add_parser("shapes", help="draw a data set of shapes, to try training without data")
    shapes_parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    shapes_parser.add_argument("--images", type=int, default=200, help="how many pictures (default 200)")
    shapes_parser.add_argument("--labels", choices=LABEL_KINDS, default="indexed", help="ids, or the classes' colours")
    shapes_parser.add_argument("--seed", type=int, default=0, help="another seed draws other pictures")
    shapes_parser.set_defaults(command=_shapes)

    download_parser = commands.add_parser("download", help="download VOC 2012 and SBD (3.4 GB)")
    download_parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where VOCdevkit goes")
    download_parser.set_defaults(command=_download)

    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:
        sys.exit("interrupted; a run goes on from its last save with --resume")
    except (ValueError, OSError, FloatingPointError, CheckpointError) as error:
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
    for name in arguments.checkpoints:
        predictor = load_predictor(name)
        data, list_name = _scored_list(arguments, predictor.card)
        pairs = listed_pairs(data, list_name, predictor.card.classes)
        if arguments.limit:
            pairs = pairs[:: max(1, len(pairs) // arguments.limit)][: arguments.limit]
        check_pairs(pairs)
        confusion = evaluate(predictor, pairs)
        metrics = metrics_dict(confusion, predictor.card.classes.names)
        print(f"{predictor.card.name} on {list_name}, {len(pairs):,} images, at the labels' own size:")
        for key in ("miou", "pixel_acc", "mean_acc", "fwiou"):
            print(f"  {key:<10} {metrics[key]:.4f}")
        for class_name, iou in metrics["iou"].items():
            print(f"    {class_name:<14} {'  -   ' if iou is None else f'{iou:.4f}'}")
        if arguments.write:
            title = data_title(data, list_name, predictor.card.classes, len(pairs))
            found = {"data": title, "images": len(pairs), "commit": git_commit(), **metrics}
            save_card(replace(predictor.card, metrics=found), card_path(name))


def _scored_list(arguments: argparse.Namespace, card: ModelCard) -> tuple[Path, str]:
    """Folder and list as asked for, else those the network's own recipe validates on."""
    recipe = card.training.get("recipe", {})
    data = arguments.data or Path(recipe.get("data", Recipe.data))
    return data, arguments.list or recipe.get("val_list", Recipe.val_list)


def _split(arguments: argparse.Namespace) -> None:
    pairs, beside = split_source(arguments.source, arguments.labels)
    folder = arguments.out or beside
    for name, count in write_split(pairs, folder, seed=arguments.seed).items():
        print(f"{folder / name}.csv: {count:,} pairs")


def _shapes(arguments: argparse.Namespace) -> None:
    write_shapes(arguments.folder, images=arguments.images, labels=arguments.labels, seed=arguments.seed)
    print(f"drew {arguments.images:,} pictures; lists and class file are in {arguments.folder}")


def _download(arguments: argparse.Namespace) -> None:
    from train.download import download_voc

    print(f"ready; in a recipe, or after --set: data={download_voc(arguments.data)}")


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

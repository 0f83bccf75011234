"""Command line: python -m train fit RECIPE.toml | eval NAME... | average NAME... --out DIR; --help has them all."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg.card import ModelCard, load_card, save_card
from seg.checkpoint import CheckpointError, card_path
from seg.predictor import load_predictor
from train.average import average
from train.cards import results_table, shipped_cards, with_table
from train.config import Recipe, load_recipe, with_backbone
from train.data import check_pairs, data_title, evenly_chosen, listed_pairs
from train.environment import git_commit
from train.evaluate import Protocol, report_dict, score, scores_dict, with_scores
from train.figures import write_figures
from train.loop import fit
from train.reference import import_torchvision
from train.shapes import LABEL_KINDS, write_shapes
from train.split import split_source, write_split
from train.state import Stopped
from train.teacher import teach

_WIDTHS = (1, 2, 3, 5, 10, 20)  # of the trimap's bands, for the screen; the card has them all


def main() -> None:
    """Parse the command line and run one command; a mistake of the caller ends in one line that names it."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True)

    fit_parser = commands.add_parser("fit", help="train a recipe")
    fit_parser.add_argument("recipe", type=Path, help="a TOML file, for example train/recipes/fcn8s.toml")
    fit_parser.add_argument("--backbone", help="train it on this timm encoder instead, from ImageNet weights")
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
    eval_parser.add_argument("--scales", type=_numbers, default=(1.0,), metavar="0.75,1,1.25", help="average these")
    eval_parser.add_argument("--flip", action="store_true", help="average with the mirrored photo")
    eval_parser.add_argument("--crf", action="store_true", help="refine with the fully connected CRF")
    eval_parser.add_argument("--figures", type=Path, metavar="DIR", help="draw the best, worst and some other images")
    eval_parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured, per image too")
    eval_parser.add_argument("--write", action="store_true", help="write the figures into the cards")
    eval_parser.set_defaults(command=_eval)

    average_parser = commands.add_parser("average", help="average the weights of several trainings of one network")
    average_parser.add_argument("checkpoints", nargs="+", help="names or paths of cards, two or more")
    average_parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new checkpoint")
    average_parser.add_argument("--recipe", type=Path, help="draw its training pictures to measure BatchNorm anew")
    average_parser.add_argument("--batches", type=int, default=100, help="of training pictures (default 100)")
    average_parser.set_defaults(command=_average)

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

    teach_parser = commands.add_parser("teach", help="ask a TFLite teacher about every picture, for soft labels")
    teach_parser.add_argument("teacher", type=Path, help="an int8 DeepLab, .tflite")
    teach_parser.add_argument("--out", type=Path, default=Path("runs/teacher"), help="folder of the soft labels")
    teach_parser.add_argument("--data", type=Path, default=Path(Recipe.data), help="folder of the pictures")
    teach_parser.add_argument("--list", default=Recipe.train_list, help="list of the pictures (default trainaug)")
    teach_parser.add_argument("--title", default="", help="of the teacher, for cards (default: its file's name)")
    teach_parser.add_argument("--threads", type=int, default=2, help="of the interpreter (default 2)")
    teach_parser.set_defaults(command=_teach)

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
    if arguments.backbone:
        recipe = with_backbone(recipe, arguments.backbone)
    folder = arguments.folder or Path("runs") / recipe.name
    command = f"{_launcher()} {shlex.join(sys.argv[1:])}"
    card = fit(recipe, folder, resume=arguments.resume, command=command)
    if card is None:  # one of several processes; the main one tells
        return
    print(f"wrote {folder / card.name}.json and {card.weights['file']} ({card.weights['bytes'] / 1e6:.1f} MB)")


def _launcher() -> str:
    local = os.environ.get("LOCAL_WORLD_SIZE")  # torchrun sets it
    if not local:
        return "python -m train"
    machines = int(os.environ["WORLD_SIZE"]) // int(local)
    # Where they met is not told to the processes: a reader puts the first machine's name there, as in train/README.md.
    meet = f"--nnodes {machines} --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 " if machines > 1 else ""
    return f"torchrun {meet}--nproc-per-node {local} -m train"


def _eval(arguments: argparse.Namespace) -> None:
    protocol = Protocol(arguments.scales, arguments.flip, arguments.crf)
    reports: dict[str, Any] = {}
    names = [card_path(name).stem for name in arguments.checkpoints]
    if (arguments.json or arguments.figures) and len(set(names)) < len(names):
        raise ValueError("two checkpoints have one name, so their reports or figures would too; score them one by one")
    for name in arguments.checkpoints:
        predictor = load_predictor(name)
        class_set = predictor.card.classes
        folder, list_name = _scored_list(arguments, predictor.card)
        pairs = listed_pairs(folder, list_name, class_set)
        if arguments.limit:
            pairs = evenly_chosen(pairs, arguments.limit)
        check_pairs(pairs)
        scores = score(predictor, pairs, protocol)
        data = data_title(folder, list_name, class_set, len(pairs))
        facts = {"data": data, "images": len(pairs), "commit": git_commit()}
        metrics = scores_dict(scores, class_set.names)
        _print_scores(f"{' + '.join(filter(None, (predictor.card.name, protocol.name)))} on {data}", metrics)
        reports[predictor.card.name] = {**facts, "protocol": protocol.name, **report_dict(scores, class_set.names)}
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


def _scored_list(arguments: argparse.Namespace, card: ModelCard) -> tuple[Path, str]:
    """Folder and list as asked for, else those the network's own recipe validates on."""
    recipe = card.training.get("recipe", {})
    data = arguments.data or Path(recipe.get("data", Recipe.data))
    return data, arguments.list or recipe.get("val_list", Recipe.val_list)


def _average(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe) if arguments.recipe else None
    card = average(arguments.checkpoints, arguments.out, recipe=recipe, batches=arguments.batches)
    print(f"wrote {arguments.out / card.name}.json, the average of {len(arguments.checkpoints)}; not scored yet")


def _split(arguments: argparse.Namespace) -> None:
    pairs, beside = split_source(arguments.source, arguments.labels)
    folder = arguments.out or beside
    for name, count in write_split(pairs, folder, seed=arguments.seed).items():
        print(f"{folder / name}.csv: {count:,} pairs")


def _shapes(arguments: argparse.Namespace) -> None:
    write_shapes(arguments.folder, images=arguments.images, labels=arguments.labels, seed=arguments.seed)
    print(f"drew {arguments.images:,} pictures; lists and class file are in {arguments.folder}")


def _teach(arguments: argparse.Namespace) -> None:
    pairs = listed_pairs(arguments.data, arguments.list)
    file = teach(arguments.teacher, pairs, arguments.out, title=arguments.title, threads=arguments.threads)
    print(f"wrote {file} ({file.stat().st_size / 1e6:.0f} MB); in a recipe, or after --set: teacher={file}")


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

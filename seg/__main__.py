"""Command line: python -m seg models | predict PHOTO... | bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from seg.card import CardError, load_card
from seg.checkpoint import CheckpointError, card_path, list_checkpoints
from seg.image import InvalidImageError, read_image
from seg.predictor import Predictor, load_predictor
from seg.table import text_table

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""What is looked for inside a folder; a file named on the command line may have any ending."""

RESULTS = ("labels", "overlay", "figure")


class UsageError(Exception):
    """A mistake in the command itself, or a folder that cannot be written: nothing can go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 when some inputs failed, 2 when the command cannot run."""
    torch.set_flush_denormal(True)  # numbers too small to matter would make some networks ten times slower
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (UsageError, CheckpointError) as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _complain("stopped")
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seg", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list the checkpoints")
    models.set_defaults(command=_models)

    predict = commands.add_parser("predict", help="label photos", description="Label photos and save the pictures.")
    predict.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="files, or folders to search through")
    predict.add_argument(
        "--model", action="append", metavar="NAME", help="checkpoint, or path of a card; repeatable (default: all)"
    )
    predict.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    predict.add_argument("--crf", action="store_true", help="sharpen the borders with a CRF; takes a second or more")
    predict.set_defaults(command=_predict)

    bench = commands.add_parser("bench", help="time the networks, beside torchvision's small ones")
    bench.add_argument("--size", type=_at_least(32), default=520, help="side of the networks' input (default 520)")
    bench.add_argument("--runs", type=_at_least(1), default=20, help="rounds (default 20)")
    bench.add_argument("--threads", type=_at_least(1), help="threads for PyTorch (default: its own choice)")
    bench.add_argument("--model", action="append", metavar="NAME", help="checkpoint; repeatable (default: all)")
    what = bench.add_mutually_exclusive_group()
    what.add_argument("--runtimes", action="store_true", help="PyTorch beside ONNX Runtime, int8, OpenVINO, LiteRT")
    what.add_argument("--photos", action="store_true", help="growth with the photo's size, up to 24 megapixels")
    what.add_argument("--page", action="store_true", help="one comparison on the running page, upload to download")
    what.add_argument("--start", action="store_true", help="from starting the page to its first answer")
    bench.add_argument("--voc", type=Path, metavar="DIR", help="with --runtimes: VOC2012, for mIoU and int8's ranges")
    bench.add_argument("--images", type=_at_least(1), default=100, help="how many of its val images (default 100)")
    bench.add_argument("--tflite", type=Path, metavar="FILE", help="with --runtimes: a TFLite network to time beside")
    bench.set_defaults(command=_bench)
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if text.isdecimal() and int(text) >= least:
            return int(text)
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")

    return whole_number


def _models(_options: argparse.Namespace) -> int:
    rows, code = [], 0
    for name in list_checkpoints():
        path = card_path(name)
        try:
            card = load_card(path)
        except CardError as error:
            _complain(str(error))
            code = 1
            continue
        miou = card.metrics.get("miou")
        h, w = card.macs_input
        rows.append(
            (
                name,
                card.title,
                f"{miou:.3f}" if miou is not None else "-",
                f"{card.parameters / 1e6:.2f} M",
                f"{card.macs / 1e9:.2f} G at {w} x {h}",
                f"{card.weights['bytes'] / 1e6:.1f} MB",
            )
        )
    if not rows:
        raise UsageError("there is no checkpoint; put cards and weights into checkpoints/")
    print(text_table(("name", "title", "mIoU", "parameters", "MACs", "file"), rows, left=2))
    return code


def _bench(options: argparse.Namespace) -> int:
    from seg import bench

    names = options.model or list_checkpoints()
    if options.start:
        print(bench.bench_start(runs=options.runs))
    elif options.page:
        print(bench.bench_page(names, runs=options.runs))
    elif options.photos:
        print("\n\n".join(bench.bench_photos(name, runs=options.runs, threads=options.threads) for name in names))
    elif options.runtimes:
        print(_bench_runtimes(options, names))
    else:
        print(bench.bench(names, size=options.size, runs=options.runs, threads=options.threads))
    return 0


def _bench_runtimes(options: argparse.Namespace, names: Sequence[str]) -> str:
    from seg import bench, runtimes

    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        photos, labels, calibration = runtimes.pictures(options.voc, options.images)
        table = runtimes.report(
            _load_predictors(names),
            photos,
            runs=options.runs,
            labels=labels,
            calibration=calibration,
            tflite=options.tflite,
        )
    except (OSError, ImportError) as error:
        raise UsageError(f"{error}; see requirements-bench.txt and --help") from error
    return f"{bench.machine()}; {options.runs} rounds\n\n{table}"


def _predict(options: argparse.Namespace) -> int:
    predictors = _load_predictors(options.model or list_checkpoints())
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make folder {out}: {error.strerror}; choose another --out") from error

    photos, failed = _find_photos(options.photos, made_by=predictors)
    stems = _output_stems(photos, predictors)
    with tqdm(total=len(photos) * len(predictors), unit="picture", disable=None) as progress:
        for photo, stem in zip(photos, stems, strict=True):
            try:
                image = read_image(photo)
            except InvalidImageError as error:
                _complain(f"{photo}: {error}")
                failed += 1
                progress.update(len(predictors))
                continue
            tqdm.write(f"{photo} ({image.width} x {image.height})")
            for name, predictor in predictors.items():
                tqdm.write(f"  {name}: {_predict_one(predictor, image, out / f'{stem}_{name}', crf=options.crf)}")
                progress.update()
    return 1 if failed else 0


def _predict_one(predictor: Predictor, image: Image.Image, target: Path, *, crf: bool) -> str:
    """Write the three pictures `<target>_labels.png` and so on; returns a line about what was found."""
    from seg import render  # matplotlib takes a second to import, and `models` does not need it

    result = predictor.predict(image, crf=crf)
    pictures = {
        "labels": render.to_indexed(result.label_map, result.class_set),
        "overlay": render.overlay(image, result.label_map, result.class_set),
        "figure": render.triptych(image, result.label_map, result.class_set, title=predictor.card.title),
    }
    for kind in RESULTS:
        path = target.with_name(f"{target.name}_{kind}.png")
        try:
            pictures[kind].save(path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
    shares = ", ".join(f"{name} {render.share_text(share)}" for name, share in result.class_areas.items())
    return f"{shares} ({result.seconds:.2f} s) -> {target}_*.png"


def _load_predictors(names: Sequence[str]) -> dict[str, Predictor]:
    """By checkpoint name, so that two cards of one name cannot write the same files."""
    if not names:
        raise UsageError("there is no checkpoint; put cards and weights into checkpoints/")
    predictors: dict[str, Predictor] = {}
    for name in names:
        predictor = load_predictor(name)
        if predictors.setdefault(predictor.card.name, predictor) is not predictor:
            raise UsageError(f"two cards are named '{predictor.card.name}'; run them one after the other")
    return predictors


def _find_photos(paths: Sequence[Path], *, made_by: dict[str, Predictor]) -> tuple[list[Path], int]:
    """Files as given, folders searched through, no file twice; and how many folders had no photo.

    Results of earlier runs that lie in a searched folder are passed over.
    """
    results = tuple(f"_{name}_{kind}.png" for name in {*list_checkpoints(), *made_by} for kind in RESULTS)
    photos: dict[Path, Path] = {}
    empty = 0
    for path in paths:
        found = [path]
        if path.is_dir():
            found = [photo for photo in _photos_in(path) if not photo.name.endswith(results)]
            if not found:
                _complain(f"{path}: no photo in this folder; photos end in {', '.join(PHOTO_ENDINGS)}")
                empty += 1
        for photo in found:
            photos.setdefault(photo.resolve(), photo)
    return list(photos.values()), empty


def _photos_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".") and path.is_file():
            yield path


def _output_stems(photos: Sequence[Path], models: dict[str, Predictor]) -> list[str]:
    """The photos' stems, numbered where two would write the same file, also on disks that ignore upper case."""
    taken: set[str] = set()
    stems = []
    for photo in photos:
        stem, number = photo.stem, 1
        while taken & (targets := {f"{stem}_{name}".casefold() for name in models}):
            number += 1
            stem = f"{photo.stem}_{number}"
        taken |= targets
        stems.append(stem)
    return stems


def _complain(message: str) -> None:
    tqdm.write(f"error: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""Our networks on other runtimes, timed beside PyTorch: ONNX Runtime in float32 and int8, OpenVINO, and LiteRT.

Only `python -m seg bench --runtimes` uses this file, and only it needs the packages of requirements-bench.txt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image
from torch import nn

from seg.bench import Contestant, most_memory, take_turns, timed
from seg.checkpoint import load_checkpoint
from seg.image import read_image, read_stored
from seg.metrics import ConfusionMatrix
from seg.predictor import Predictor
from seg.table import text_table

Network = Callable[[torch.Tensor], torch.Tensor]
"""x (1, 3, h, w) -> logits (1, K, h, w), both float32 on the CPU."""

FOLDED = "PyTorch, as predict runs it"
CALIBRATION = 60  # photos that show int8 the ranges of its activations


def export(network: nn.Module, file: Path) -> None:
    """Write `network` as ONNX; h and w of its input stay free.

    By tracing: the newer exporter reasons about every size in symbols, and was not done with FCN-8s in 90 seconds.
    """
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 256, 320),),
        file,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {2: "h", 3: "w"}, "logits": {2: "h", 3: "w"}},
        dynamo=False,
    )


def onnx_runtime(file: Path, *, threads: int) -> Network:
    """The exported network on ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.contiguous().numpy()})[0])


def quantise(file: Path, quantised: Path, inputs: Sequence[torch.Tensor]) -> None:
    """Write the exported network with its convolutions in int8, activations in the ranges seen on `inputs`.

    Convolutions alone: FCN-8s's sum of scores fails in int8. Weights have 7 bits, because processors without int8
    instructions (VNNI) overflow on 8.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.left, None)
            return None if x is None else {"x": x.contiguous().numpy()}

    prepared = quantised.with_suffix(".prepared.onnx")
    quant_pre_process(file, prepared, skip_symbolic_shape=True, skip_optimization=True)
    quantize_static(
        prepared,
        quantised,
        Inputs(),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
    )


def openvino(file: Path, *, threads: int) -> Network:
    """The exported network on OpenVINO, in the precision OpenVINO chooses for this processor."""
    import openvino

    compiled = openvino.compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    return lambda x: torch.from_numpy(compiled(x.contiguous().numpy())[0])


def litert(file: Path, *, threads: int) -> Contestant:
    """One pass of a TFLite network of Google's kind over noise of its own input size, timed."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    noise = np.random.default_rng(0).integers(0, 256, given["shape"]).astype(given["dtype"])
    interpreter.set_tensor(given["index"], noise)
    return partial(timed, lambda _: interpreter.invoke(), torch.empty(0))


def ways(predictor: Predictor, folder: Path, *, calibration: Sequence[Image.Image]) -> dict[str, Callable[[], Network]]:
    """Every way to run the network, by name: what makes it ready, which raises ImportError where a package is missing.

    Args:
        folder: for the exported files, which are written here and now; they must stay while the ways are used.
        calibration: photos that show int8 the ranges of its activations.
    """
    name, threads = predictor.card.name, torch.get_num_threads()
    pytorch: dict[str, Callable[[], Network]] = {
        "PyTorch eager": lambda: load_checkpoint(name)[0],
        FOLDED: lambda: predictor.logits,
    }
    file, small = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    try:
        export(predictor.network, file)
        quantise(file, small, [predictor.card.preprocess.apply(photo)[0] for photo in calibration])
    except ImportError:
        return pytorch
    return pytorch | {
        "ONNX Runtime": partial(onnx_runtime, file, threads=threads),
        "ONNX Runtime int8": partial(onnx_runtime, small, threads=threads),
        "OpenVINO": partial(openvino, file, threads=threads),
    }


def report(
    predictors: Mapping[str, Predictor],
    photos: Sequence[Image.Image],
    *,
    runs: int,
    labels: Sequence[Path] = (),
    calibration: Sequence[Image.Image] | None = None,
    tflite: Path | None = None,
) -> str:
    """A table with every way of every network: time, memory, agreement with eager, mIoU; and how int8 was calibrated.

    Time is of one pass over the input that the network's card asks for, for the first photo; the ways take turns.
    Memory is the most that the process gained while the way was made and ran once. What is not installed is left out.

    Args:
        photos: the labels of the ways are compared on these.
        labels: their label files, for mIoU; none: that column stays empty.
        calibration: other photos, for int8; None: those that are compared, which flatters it.
        tflite: a TFLite network to time beside.
    """
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, predictor in predictors.items():
            x = predictor.card.preprocess.apply(photos[0])[0]
            networks: dict[str, Network] = {}
            memory: dict[str, str] = {}
            for way, make in ways(predictor, Path(folder), calibration=calibration or photos).items():
                try:
                    with most_memory() as gained:
                        network = make()
                        timed(network, x)
                except ImportError:
                    continue
                except Exception as error:  # every runtime has its own kinds
                    rows.append((name, way, f"fails: {type(error).__name__}", *"-----"))
                    continue
                networks[way], memory[way] = network, f"{gained[0] / 1e6:.0f} MB"
            times = take_turns({way: partial(timed, network, x) for way, network in networks.items()}, runs)
            eager = [_labels(predictor, networks["PyTorch eager"], photo) for photo in photos]
            for way, network in networks.items():
                mine = [_labels(predictor, network, photo) for photo in photos]
                same = np.mean([np.mean(a == b) for a, b in zip(mine, eager, strict=True)])
                ratio = np.median(times[way]) / np.median(times["PyTorch eager"])
                miou = f"{_miou(predictor, mine, labels):.4f}" if labels else "-"
                rows.append(
                    (name, way, *_median_p95(times[way]), f"{ratio:.2f}", memory[way], f"{100 * same:.2f} %", miou)
                )
    if tflite is not None:
        with most_memory() as gained:
            contestant = litert(tflite, threads=torch.get_num_threads())
            contestant()
        (milliseconds,) = take_turns({"": contestant}, runs).values()
        rows.append((tflite.stem, "LiteRT", *_median_p95(milliseconds), "-", f"{gained[0] / 1e6:.0f} MB", *"--"))
    head = ("checkpoint", "way", "median ms", "p95", "ratio to eager", "memory", "labels as eager", "mIoU")
    seen = f"{len(calibration)} others" if calibration else "the same: its agreement is flattered"
    return f"{text_table(head, rows, left=2)}\n\nlabels compared on {len(photos)} photos, int8 calibrated on {seen}"


def _median_p95(milliseconds: np.ndarray) -> tuple[str, str]:
    return f"{np.median(milliseconds):.1f}", f"{np.percentile(milliseconds, 95):.1f}"


def packaged_photos() -> list[Image.Image]:
    """The photographs that come with scikit-image."""
    names = ("chelsea.png", "astronaut.png", "motorcycle_left.png", "coffee.png", "rocket.jpg")
    return [read_image(Path(skimage.__file__).parent / "data" / name) for name in names]


def pictures(voc: Path | None, count: int) -> tuple[list[Image.Image], list[Path], list[Image.Image] | None]:
    """Photos, labels and calibration for `report`: of VOC's val and train lists, or those of scikit-image alone."""
    if voc is None:
        return packaged_photos(), [], None
    compared, others = voc_pairs(voc, "val", count), voc_pairs(voc, "train", CALIBRATION)
    return (
        [read_image(photo) for photo, _ in compared],
        [label for _, label in compared],
        [read_image(photo) for photo, _ in others],
    )


def voc_pairs(folder: Path, part: str, count: int) -> list[tuple[Path, Path]]:
    """`count` (photo, label) files, evenly chosen, of the list `part`, as "val", of VOC2012 in the VOCdevkit layout.

    Raises:
        FileNotFoundError: the folder is not of that layout, or has no picture of the list.
    """
    names = (folder / "ImageSets" / "Segmentation" / f"{part}.txt").read_text("utf-8").split()
    labels = next(folder / name for name in ("SegmentationClass", "SegmentationClassAug") if (folder / name).is_dir())
    pairs = [(folder / "JPEGImages" / f"{name}.jpg", labels / f"{name}.png") for name in names]
    pairs = [pair for pair in pairs if all(file.is_file() for file in pair)]
    if not pairs:
        raise FileNotFoundError(f"{folder} has no picture of the list {part}")
    count = min(count, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


@torch.inference_mode()
def _labels(predictor: Predictor, network: Network, photo: Image.Image) -> np.ndarray:
    x, geometry = predictor.card.preprocess.apply(photo)
    return predictor.card.preprocess.restore_labels(network(x), geometry)[0]


def _miou(predictor: Predictor, label_maps: Sequence[np.ndarray], labels: Sequence[Path]) -> float:
    confusion = ConfusionMatrix(len(predictor.card.classes))
    for label_map, label in zip(label_maps, labels, strict=True):
        confusion.update(np.asarray(read_stored(label)), label_map)
    return confusion.miou

"""Ask a trained DeepLabV3 in TFLite form about every training picture and keep its logits as soft labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from seg.image import read_image
from train.data import Pair
from train.soft_labels import FILE_NAME, TeacherFacts, write_soft_labels

_GREY = 127  # of the square beside the photo


class Teacher:
    """An int8 DeepLab that takes a square (1, s, s, 3) of uint8 RGB and resizes its logits with aligned corners.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `ai_edge_litert` is not installed, or the network is not of this kind.
    """

    def __init__(self, file: Path, *, threads: int = 2) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"no teacher {file}")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ValueError("a TFLite teacher needs another package: pip install ai-edge-litert") from error
        self.interpreter: Any = Interpreter(
            model_path=str(file), num_threads=threads, experimental_preserve_all_tensors=True
        )
        self.interpreter.allocate_tensors()
        (given,) = self.interpreter.get_input_details()
        self._input, self.side = given["index"], int(given["shape"][1])
        if given["dtype"] != np.uint8 or list(given["shape"]) != [1, self.side, self.side, 3]:
            raise ValueError(f"{file} takes {given['shape']} {given['dtype'].__name__}; expected a square of uint8 RGB")
        found = _coarse_logits(self.interpreter.get_tensor_details())
        if found is None:
            raise ValueError(f"{file} has no quantised logits on a grid before its last resize")
        self._output, (self.scale, self.zero_point) = found["index"], found["quantization"]

    def logits(self, photo: Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
        """(K, g, g) stored logits of the square, and the photo's height and width in it, pixels."""
        width, height = (max(1, round(side * self.side / max(photo.size))) for side in photo.size)
        square = Image.new("RGB", (self.side, self.side), (_GREY, _GREY, _GREY))
        square.paste(photo.resize((width, height), Image.Resampling.BILINEAR))
        self.interpreter.set_tensor(self._input, np.asarray(square)[None])
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self._output)[0].transpose(2, 0, 1), (height, width)


def _coarse_logits(tensors: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first of the smallest maps with as many channels as the last map of the network."""
    maps = [
        tensor
        for tensor in tensors
        if len(tensor["shape"]) == 4
        and tensor["shape"][0] == 1
        and tensor["shape"][1] == tensor["shape"][2] > 1
        and tensor["dtype"] in (np.uint8, np.int8)
    ]
    logits = [tensor for tensor in maps if tensor["shape"][3] == maps[-1]["shape"][3]]
    return min(logits, key=lambda tensor: tensor["shape"][1]) if len(logits) > 1 else None


def teach(file: Path, pairs: list[Pair], folder: Path, *, title: str = "", threads: int = 2) -> Path:
    """Write `folder`/soft_labels.safetensors, the teacher's logits of all photos; returns its path.

    Args:
        title: of the teacher; without one, the name of its file.

    Raises:
        FileNotFoundError, ValueError: as `Teacher`; two photos of one name; a photo that cannot be read.
    """
    names = [pair.image.stem for pair in pairs]
    if len(set(names)) < len(names):
        raise ValueError("two photos of the list have the same name but for folder and ending; soft labels go by it")
    teacher = Teacher(file, threads=threads)
    logits, sizes = [], []
    for pair in tqdm(pairs, "asking the teacher", unit="picture", mininterval=5):
        answer, size = teacher.logits(read_image(pair.image))
        logits.append(answer)
        sizes.append(size)
    facts = TeacherFacts(
        title=title or file.stem,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        side=teacher.side,
        scale=float(teacher.scale),
        zero_point=int(teacher.zero_point),
    )
    extent = np.array(sizes, np.float32) / teacher.side
    write_soft_labels(folder / FILE_NAME, names, np.stack(logits), extent, facts)
    return folder / FILE_NAME

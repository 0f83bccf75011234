"""How long the networks take on this machine, beside torchvision's small ones, all in one run.

Speed drifts: a warm processor slows down, other programs come and go. So the networks take turns, one pass each per
round, and what happens in one minute happens to all of them.
"""

from __future__ import annotations

import io
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from seg.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from seg.image import read_image
from seg.predictor import Predictor, PreparedPhoto, load_predictor
from seg.table import text_table
from seg.transforms import Preprocess

TORCHVISION = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
REFERENCE = f"torchvision {TORCHVISION[0]}, eager"
REFERENCE_INPUT = Preprocess(short_side=520, long_side=100_000, multiple=1)  # as torchvision's own transforms resize
ALL = "all of these, one after the other"
ALL_NETWORKS = "all checkpoints together, as predict runs them"
PHOTO_SIZE = (768, 1024)
PHOTO_SIZES = ((480, 640), (768, 1024), (1536, 2048), (3000, 4000), (4000, 6000))  # up to 24 megapixels
ROOT = Path(__file__).resolve().parent.parent
_WARM_UP = 3

Contestant = Callable[[], tuple[float, ...]]
"""Does its work once and returns the seconds it took, in all and perhaps in parts."""


def bench(names: Sequence[str], *, size: int = 520, runs: int = 20, threads: int | None = None) -> str:
    """Time checkpoints and torchvision's networks; returns the report.

    Args:
        names: of the checkpoints.
        size: height and width of the networks' input, at least 32.
        runs: rounds after the warm-up.
        threads: for PyTorch; its own choice when None.

    Raises:
        CheckpointError: there is none, or one is damaged.
    """
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    if not names:
        raise CheckpointError("there is no checkpoint to time; put cards and weights into checkpoints/")
    predictors = {name: load_predictor(name) for name in names}
    networks = take_turns(_network_contestants(predictors, size), runs)
    networks[ALL_NETWORKS] = np.sum([networks[f"{name}, as predict runs it"] for name in names], axis=0)
    photo = synthetic_photo(PHOTO_SIZE)
    contestants: dict[str, Contestant] = {name: partial(_predict, predictors[name], photo) for name in names}
    contestants[ALL] = partial(_predict_all, list(predictors.values()), photo)
    contestants[REFERENCE] = partial(_predict_reference, _torchvision(TORCHVISION[0]), photo)
    predictions = take_turns(contestants, runs)
    return "\n".join(
        (
            f"{machine()}; {runs} rounds",
            "",
            f"The network alone, one picture of {size} x {size}, milliseconds:",
            _network_table(networks),
            "",
            f"From the JPEG bytes of a {PHOTO_SIZE[1]} x {PHOTO_SIZE[0]} photo to its label map, median milliseconds:",
            _predict_table(predictions, predictors),
        )
    )


def bench_photos(name: str, *, runs: int = 5, threads: int | None = None) -> str:
    """How time and memory of `predict` grow with the photo, from its JPEG bytes to its label map; returns the report.

    The network's share stays as it is: it sees every photo at the size its card asks for.
    """
    if threads:
        torch.set_num_threads(threads)
    predictor = load_predictor(name)
    predictor.predict(synthetic_photo(PHOTO_SIZE))
    rows: list[Sequence[str]] = []
    for height, width in PHOTO_SIZES:
        photo = synthetic_photo((height, width))
        with most_memory() as gained:
            whole, network = np.median([_predict(predictor, photo) for _ in range(runs)], axis=0) * 1000
        rows.append(
            (f"{width} x {height}", f"{width * height / 1e6:.1f}", f"{whole:.0f}", f"{network:.0f}",
             f"{(whole - network) / (width * height / 1e6):.0f}", f"{gained[0] / 1e6:.0f} MB")
        )  # fmt: skip
    head = ("photo", "megapixels", "predict ms", "network ms", "the rest, ms per megapixel", "memory on top")
    return f"{machine()}; {name}, {runs} runs, medians\n\n{text_table(head, rows)}"


@contextmanager
def most_memory() -> Iterator[list[int]]:
    """Bytes that this process had at most, beyond what it had at the start: in the list after the block."""
    process, stop, gained = psutil.Process(), threading.Event(), [0]
    before = process.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.002):
            gained[0] = max(gained[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield gained
    finally:
        stop.set()
        watcher.join()


def bench_start(*, runs: int = 3) -> str:
    """How long the page takes from `python app.py` to its first answer, beside the imports alone; returns the report.

    Each round starts both anew, one after the other. The answer is that of /segment to a photo, over HTTP.
    """
    imports, answers = [], []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, gradio"], check=True)
        imports.append(time.perf_counter() - start)
        answers.append(_first_answer())
    ratio = np.median(answers) / np.median(imports)
    return (
        f"{machine()}; {runs} rounds, medians\n\n"
        f"import torch, gradio: {np.median(imports):.1f} s\n"
        f"python app.py to the first answer: {np.median(answers):.1f} s, ratio {ratio:.2f}"
    )


def bench_page(names: Sequence[str], *, runs: int = 10) -> str:
    """What a visitor of the running page waits for, beside torchvision's network in this process; returns the report.

    The page compares the networks in one request over HTTP: upload of the photo, decoding, the networks, the map of
    disagreement, and that map's download. torchvision's network goes from the same bytes to a label map.
    """
    photo = synthetic_photo(PHOTO_SIZE)
    with _page() as client:

        def compare() -> tuple[float]:
            start = time.perf_counter()
            picture, _facts = _ask(client, "compare", _upload(client, photo), list(names))
            client.get(f"gradio_api/file={picture['path']}").raise_for_status()
            return (time.perf_counter() - start,)

        asked = f"/compare with {', '.join(names)}"
        reference = partial(_predict_reference, _torchvision(TORCHVISION[0]), photo)
        times = take_turns({asked: compare, f"{REFERENCE}, no page": reference}, runs)
    medians = {name: float(np.median(each[:, 0])) for name, each in times.items()}
    last = list(medians.values())[-1]
    rows = [(name, f"{median:.0f}", f"{median / last:.2f}") for name, median in medians.items()]
    return f"{machine()}; {runs} rounds\n\n{text_table(('a 1024 x 768 photo', 'median ms', 'ratio'), rows)}"


def _first_answer() -> float:
    """Seconds from the start of the page to its answer about one photo."""
    start = time.perf_counter()
    with _page() as client:
        _ask(client, "segment", _upload(client, synthetic_photo(PHOTO_SIZE)), list_checkpoints()[0], False)
        return time.perf_counter() - start


@contextmanager
def _page() -> Iterator[httpx.Client]:
    """A client of the page, started anew, as soon as it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=120, trust_env=False) as client:
            while True:
                try:
                    client.get("health")
                    break
                except httpx.TransportError:  # not listening yet
                    if page.poll() is not None:
                        raise RuntimeError("the page does not start; try: python app.py") from None
                    time.sleep(0.02)
            yield client
    finally:
        page.terminate()
        page.wait()


def _upload(client: httpx.Client, photo: bytes) -> dict[str, Any]:
    """The photo as the page's endpoints take it."""
    uploaded = client.post("gradio_api/upload", files={"files": ("photo.jpg", photo)}).raise_for_status()
    return {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}


def _ask(client: httpx.Client, endpoint: str, *question: object) -> list[Any]:
    """What the endpoint answers."""
    event = client.post(f"gradio_api/call/{endpoint}", json={"data": question}).raise_for_status().json()["event_id"]
    said = client.get(f"gradio_api/call/{endpoint}/{event}").text
    if "event: complete" not in said:
        raise RuntimeError(f"the page answered: {said}")
    answer: list[Any] = json.loads(said.partition("data: ")[2])
    return answer


def machine() -> str:
    """What the figures of a report were taken on."""
    return (
        f"machine: {cpu_name()}, {os.cpu_count()} cores; {torch.get_num_threads()} threads; PyTorch {torch.__version__}"
    )


def synthetic_photo(size: tuple[int, int]) -> bytes:
    """JPEG bytes of a made-up photo of (H, W): soft shapes with grain, so that decoding costs what a photo's does."""
    height, width = size
    random = np.random.default_rng(0)
    shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize((width, height))
    grain = random.normal(0, 6, (height, width, 1))
    photo = Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _network_contestants(predictors: Mapping[str, Predictor], size: int) -> dict[str, Contestant]:
    """Each checkpoint's network folded and as built, and torchvision's networks with random weights."""
    x = torch.rand(1, 3, size, size)
    contestants: dict[str, Contestant] = {}
    for name, predictor in predictors.items():
        contestants[f"{name}, as predict runs it"] = partial(timed, predictor.logits, x)
        contestants[f"{name}, eager"] = partial(timed, load_checkpoint(name)[0], x)
    for name in TORCHVISION:
        contestants[f"torchvision {name}, eager"] = partial(timed, _torchvision(name), x)
    return contestants


def _torchvision(name: str) -> nn.Module:
    """A network of torchvision's for VOC's classes, with random weights: they take as long as trained ones."""
    from torchvision.models import segmentation  # a second of importing, for this alone

    network: nn.Module = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=21)
    return network.eval()


@torch.inference_mode()
def timed(network: Callable[[torch.Tensor], object], x: torch.Tensor) -> tuple[float]:
    """Seconds of one pass of x (1, 3, h, w)."""
    start = time.perf_counter()
    network(x)
    return (time.perf_counter() - start,)


def _predict(predictor: Predictor, photo: bytes) -> tuple[float, float]:
    result = predictor.predict(photo)
    return result.seconds, result.network_seconds


def _predict_all(predictors: Sequence[Predictor], photo: bytes) -> tuple[float, float]:
    """As the page compares: the photo is read and resized once."""
    start = time.perf_counter()
    prepared = PreparedPhoto(photo)
    network_seconds = sum(predictor.predict(prepared).network_seconds for predictor in predictors)
    return time.perf_counter() - start, network_seconds


@torch.inference_mode()
def _predict_reference(network: nn.Module, photo: bytes) -> tuple[float, float]:
    """torchvision's network on its own terms, at the size its transforms ask for; our way to it, PyTorch's back."""
    start = time.perf_counter()
    x, geometry = REFERENCE_INPUT.apply(read_image(photo))
    network_start = time.perf_counter()
    logits = network(x)["out"]
    network_seconds = time.perf_counter() - network_start
    F.interpolate(logits, size=geometry.photo_size, mode="bilinear").argmax(dim=1)
    return time.perf_counter() - start, network_seconds


def take_turns(contestants: Mapping[str, Contestant], runs: int) -> dict[str, np.ndarray]:
    """(runs, parts) milliseconds of every contestant, after a warm-up that does not count."""
    for _ in range(min(_WARM_UP, runs)):
        for contestant in contestants.values():
            contestant()
    rounds = [{name: contestant() for name, contestant in contestants.items()} for _ in range(runs)]
    return {name: 1000 * np.array([one_round[name] for one_round in rounds]) for name in contestants}


def _network_table(milliseconds: Mapping[str, np.ndarray]) -> str:
    reference = float(np.median(milliseconds[REFERENCE]))
    rows = []
    for name, times in milliseconds.items():
        median = float(np.median(times))
        values = (median, float(times.min()), float(np.percentile(times, 95)))
        rows.append([name, *(f"{value:.1f}" for value in values), f"{median / reference:.2f}"])
    return text_table(("network", "median", "min", "p95", f"ratio to {TORCHVISION[0]}"), rows)


def _predict_table(milliseconds: Mapping[str, np.ndarray], predictors: Mapping[str, Predictor]) -> str:
    inputs = {name: predictor.card.preprocess for name, predictor in predictors.items()} | {REFERENCE: REFERENCE_INPUT}
    reference, network_reference = np.median(milliseconds[REFERENCE], axis=0)
    rows: list[Sequence[str]] = []
    for name, times in milliseconds.items():
        seen = "{1} x {0}".format(*inputs[name].network_size(PHOTO_SIZE)) if name in inputs else "-"
        whole, network = np.median(times, axis=0)
        rest = np.median(times[:, 0] - times[:, 1])
        ratios = (f"{whole / reference:.2f}", f"{network / network_reference:.2f}")
        rows.append((name, seen, f"{whole:.1f}", f"{network:.1f}", f"{rest:.1f}", *ratios))
    head = ("checkpoint", "network sees", "predict", "network", "the rest", "ratio of predict", "of network")
    return text_table(head, rows)

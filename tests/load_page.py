"""A class at once: thirty visitors on one page, each with photographs of their own, all comparing three networks.

    python tests/load_page.py                                  # 30 visitors, 2 photos each
    python tests/load_page.py --visitors 10 --photos 100       # 1,000 requests: does memory stay flat?
    python tests/load_page.py --page                           # as the page itself asks, with the viewer's pictures

Starts the page as a program of its own on this machine and asks it as the browser does: upload, join the queue, listen.
What is asked is /compare, as programs do; with --page the event of the button "Compare". Reports how long people
waited, and fails if an answer is lost or belongs to somebody else's photo, or if memory grows over many requests.
`test_load.py` runs the same visitors in small.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import skimage
import torch
from page_server import ROOT, PageServer, running_page
from PIL import Image

sys.path.insert(0, str(ROOT))  # called as a script it does not know where seg lies

from seg import load_predictor, read_image
from seg.bench import machine
from seg.render import disagreement

NETWORKS = ("fcn8s", "unet", "deeplabv3")
PATIENCE = 600  # seconds until a visitor gives up
ENOUGH = 300  # requests that tell whether memory stays flat


class QueueFullError(RuntimeError):
    """The page has no place in its queue; says what it answered."""


@dataclass
class Visit:
    """One question of one visitor and what came back.

    Attributes:
        photo: PNG bytes.
        ranks: places in the queue that were told, first to last; 0 is next.
        seconds: from joining the queue to the answer.
        differences: the map of disagreement as PNG.
        size: (width, height) of the photo that the answer says it is about.
    """

    photo: bytes
    ranks: list[int] = field(default_factory=list)
    seconds: float = 0.0
    differences: bytes = b""
    size: tuple[int, int] = (0, 0)


class Visitor:
    """Somebody in the class: one session, one question after the other, to the endpoint for programs.

    Attributes:
        asks: name of the endpoint.
        says: what follows the photo and the networks in a question.
    """

    asks = "compare"
    says: tuple[str, ...] = ()

    def __init__(self, client: httpx.AsyncClient, endpoint: int) -> None:
        self.client = client
        self.endpoint = endpoint
        self.session = uuid.uuid4().hex
        self.listening = False

    async def upload(self, photo: bytes) -> str:
        """Path of the photo on the server."""
        uploaded = await self.client.post("/gradio_api/upload", files={"files": ("photo.png", photo)})
        return str(uploaded.raise_for_status().json()[0])

    async def join(self, path: str) -> str:
        """Ask for a comparison of an uploaded photo; returns the event's id.

        Raises:
            QueueFullError: as it says.
        """
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        question = {"data": [file, list(NETWORKS), *self.says], "fn_index": self.endpoint, "session_hash": self.session}
        joined = await self.client.post("/gradio_api/queue/join", json=question)
        if joined.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise QueueFullError(joined.json()["detail"])
        return str(joined.raise_for_status().json()["event_id"])

    async def compare(self, photo: bytes) -> Visit:
        """Ask, listen until the answer is there, and fetch the picture."""
        visit = Visit(photo)
        start = time.perf_counter()
        await self.join(await self.upload(photo))
        async with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line.removeprefix("data:"))
                self.listening = True
                if message["msg"] == "estimation":
                    visit.ranks.append(message["rank"])
                elif message["msg"] == "process_completed":
                    assert message["success"], message
                    break
        visit.seconds = time.perf_counter() - start
        await self.keep(message["output"]["data"], visit)
        return visit

    async def keep(self, answer: list[Any], visit: Visit) -> None:
        """Take from the answer what `check` looks at."""
        picture, facts = answer
        visit.differences = (await self.client.get(f"/gradio_api/file={picture['path']}")).raise_for_status().content
        (visit.size,) = {(network["size"]["width"], network["size"]["height"]) for network in facts["networks"]}

    async def leave(self) -> None:
        """Open the stream of answers and close it at once, as a closed browser tab does."""
        async with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            async for _ in stream.aiter_lines():
                break


class PageVisitor(Visitor):
    """Somebody who presses "Compare": networks answer one after the other, with pictures for the viewer."""

    asks = "_compare"
    says = ("en",)

    async def keep(self, answer: list[Any], visit: Visit) -> None:
        viewer = answer[0]
        assert [network["name"] for network in viewer["networks"]] == list(NETWORKS)
        visit.differences = base64.b64decode(viewer["disagreement"]["src"].partition(",")[2])
        visit.size = tuple(viewer["photo"]["original"])


def client_of(server: PageServer) -> httpx.AsyncClient:
    """For many visitors at once."""
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None))


def compare_endpoint(server: PageServer, name: str = Visitor.asks) -> int:
    """Number of the endpoint or event that compares."""
    config = httpx.get(f"{server.url}/config", timeout=60).json()
    return next(entry["id"] for entry in config["dependencies"] if entry["api_name"] == name)


def own_photo(number: int, *, side: int) -> bytes:
    """PNG of the cat as nobody else has it: for every number below 1000 another width, cut and turn."""
    cat = read_image(Path(skimage.__file__).parent / "data" / "chelsea.png")
    left, top = number % 90, number % 55
    cut = cat.crop((left, top, left + 340, top + 240)).rotate(7 * number % 360)
    file = io.BytesIO()
    cut.resize((side + number, side)).save(file, "PNG")
    return file.getvalue()


async def class_of(
    server: PageServer, *, visitors: int, photos: int, side: int, kind: type[Visitor] = Visitor
) -> list[Visit]:
    """Everybody asks at the same time, and asks again as soon as the answer is there; visits in the order of photos."""
    async with client_of(server) as client:
        endpoint = compare_endpoint(server, kind.asks)

        async def one(number: int) -> list[Visit]:
            visitor = kind(client, endpoint)
            return [await visitor.compare(own_photo(number * photos + i, side=side)) for i in range(photos)]

        return [visit for visits in await asyncio.gather(*map(one, range(visitors))) for visit in visits]


def check(visit: Visit) -> None:
    """The answer is what these networks say about this very photo."""
    assert visit.size == Image.open(io.BytesIO(visit.photo)).size, "an answer to somebody else's photo"
    maps = [load_predictor(name).predict(visit.photo).label_map for name in NETWORKS]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(visit.differences))), disagreement(maps))


async def watch_memory(process: psutil.Process, seconds: float, used: list[float]) -> None:
    """Append the process's resident megabytes every so many seconds, until cancelled."""
    while True:
        used.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(seconds)


async def _load(server: PageServer, arguments: argparse.Namespace) -> tuple[list[Visit], list[float]]:
    used: list[float] = []
    page = next(p for p in psutil.Process().children(recursive=True) if "app.py" in p.cmdline())
    kind = PageVisitor if arguments.page else Visitor
    await class_of(server, visitors=1, photos=1, side=arguments.side, kind=kind)  # loads the networks
    watching = asyncio.create_task(watch_memory(page, 0.5, used))
    visits = await class_of(
        server, visitors=arguments.visitors, photos=arguments.photos, side=arguments.side, kind=kind
    )
    watching.cancel()
    return visits, used


def main() -> None:
    """Run the class and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--photos", type=int, default=2, help="of each visitor, one after the other")
    parser.add_argument("--side", type=int, default=600, help="height of the photos, pixels")
    parser.add_argument("--page", action="store_true", help="ask as the page does, not as programs do")
    parser.add_argument("--checked", type=int, default=60, help="answers compared with the networks' own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the page is started, so that answers are equal to the last bit
    with tempfile.TemporaryDirectory() as folder, running_page(Path(folder)) as server:
        start = time.perf_counter()
        visits, used = asyncio.run(_load(server, arguments))
        seconds = time.perf_counter() - start
        crashes = server.crashes()
    for visit in visits[:: max(1, len(visits) // arguments.checked)]:
        check(visit)
    waits = [visit.seconds for visit in visits]
    median, p95 = np.percentile(waits, (50, 95))
    tenths = [float(np.mean(part)) for part in np.array_split(used, 10) if len(part)]
    print(machine())
    print(f"{len(visits)} of {arguments.visitors * arguments.photos} answers in {seconds:.0f} s, none mixed up")
    print(f"waiting, upload to answer: median {median:.1f} s, p95 {p95:.1f} s, longest {max(waits):.1f} s")
    print(f"told their place in the queue: {sum(bool(visit.ranks) for visit in visits)} of {len(visits)}")
    print(
        f"the page's memory, MB, mean of each tenth of the time: {' '.join(f'{mb:.0f}' for mb in tenths)}; "
        f"most {max(used):.0f}"
    )
    assert not crashes, crashes
    if len(visits) >= ENOUGH:  # the first tenth warms up
        assert tenths[-1] <= 1.1 * float(np.mean(tenths[1:4])), "memory grows with the requests"


if __name__ == "__main__":
    main()

"""The running page as a programming interface: /segment and /compare, good photos, bad photos, and thieves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import packaged_photo
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_server import ROOT, PageServer
from PIL import Image

from seg import list_checkpoints, load_predictor, read_image
from seg.classes import VOC
from seg.render import disagreement, disagreement_colours
from seg.ui.networks import default_networks

NETWORKS = list_checkpoints()
COMPARED = default_networks()
META = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def new_client(page_server: PageServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    downloads = tmp_path_factory.mktemp("downloads")
    return lambda: Client(page_server.url, verbose=False, download_files=downloads)


@pytest.fixture(scope="module")
def client(new_client: Any) -> Client:
    return new_client()


@pytest.fixture(scope="module")
def cat() -> Path:
    return packaged_photo("chelsea.png")


def ids_of(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "P")
        return np.asarray(picture)


# Documentation


def test_two_endpoints_and_no_others_are_public(client):
    info = client.view_api(return_format="dict", print_info=False)
    assert set(info["named_endpoints"]) == {"/segment", "/compare"}
    assert not info["unnamed_endpoints"]


def test_endpoints_are_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    segment, compare = endpoints["/segment"], endpoints["/compare"]
    assert [p["parameter_name"] for p in segment["parameters"]] == ["photo", "network", "crf"]
    assert [p["parameter_name"] for p in compare["parameters"]] == ["photo", "networks"]
    assert segment["parameters"][1]["type"]["enum"] == NETWORKS
    assert "30 MB" in segment["parameters"][0]["python_type"]["description"]
    assert [r["label"] for r in segment["returns"]] == ["labels", "overlay", "facts"]
    assert [r["label"] for r in compare["returns"]] == ["disagreement", "facts"]
    for endpoint in (segment, compare):
        for what in endpoint["parameters"]:
            assert f"{what['parameter_name']}:" in endpoint["description"]
        for what in endpoint["returns"]:
            assert f"{what['label']}:" in endpoint["description"]
    assert "http" not in json.dumps(segment["parameters"][0]["example_input"])  # an address would be refused


# Answers


@pytest.mark.parametrize("network", NETWORKS)
def test_segment_answers_what_the_predictor_says(client, cat, network):
    labels, overlay, facts = client.predict(handle_file(cat), network, api_name="/segment")
    expected = load_predictor(network).predict(cat)
    np.testing.assert_array_equal(ids_of(labels), expected.label_map)
    with Image.open(labels) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), VOC.colormap[expected.label_map])
    with Image.open(overlay) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (451, 300))
    card = load_predictor(network).card
    assert facts["network"] == network
    assert facts["size"] == {"height": 300, "width": 451}
    assert facts["classes"] == {name: round(share, 6) for name, share in expected.class_areas.items()}
    assert facts["class_ids"] == {name: i for i, name in enumerate(card.classes.names)}
    assert (facts["parameters"], facts["macs"]) == (card.parameters, card.macs)
    assert facts["miou"] == card.metrics.get("miou")
    assert 0 < facts["network_seconds"] <= facts["seconds"]


def test_fcn_finds_the_cat(client, cat):
    _, _, facts = client.predict(handle_file(cat), "fcn8s", api_name="/segment")
    assert facts["classes"]["cat"] > 0.4


def test_the_first_network_answers_if_none_is_named(client, cat):
    _, _, facts = client.predict(handle_file(cat), api_name="/segment")
    assert facts["network"] == NETWORKS[0]


def test_compare_tells_where_the_networks_differ(client, cat):
    picture, facts = client.predict(handle_file(cat), api_name="/compare")
    expected = disagreement([load_predictor(name).predict(cat).label_map for name in COMPARED])
    np.testing.assert_array_equal(ids_of(picture), expected)
    assert [entry["network"] for entry in facts["networks"]] == COMPARED
    assert facts["agreement"] == pytest.approx((expected == 0).mean(), abs=1e-5)
    assert [tuple(colour) for colour in facts["colours"]] == list(disagreement_colours(len(COMPARED)))
    assert facts["class_ids"]["cat"] == 8


def test_compare_takes_the_networks_it_is_asked_for(client, cat):
    two = [NETWORKS[-1], NETWORKS[0]]
    _, facts = client.predict(handle_file(cat), two, api_name="/compare")
    assert [entry["network"] for entry in facts["networks"]] == sorted(two, key=NETWORKS.index)
    for wrong in (["deeplabv9", "fcn8s"], ["fcn8s"]):
        with pytest.raises(AppError, match=r"known: fcn|at least two|list of choices"):
            client.predict(handle_file(cat), wrong, api_name="/compare")


def test_the_crf_is_the_predictor_s(client, cat):
    labels, _, _ = client.predict(handle_file(cat), "fcn8s", True, api_name="/segment")
    np.testing.assert_array_equal(ids_of(labels), load_predictor("fcn8s").predict(cat, crf=True).label_map)


def test_many_at_once_get_their_own_answers(new_client, tmp_path):
    """Six people, six photos of different sizes: nobody sees another's."""
    photo = read_image(packaged_photo("chelsea.png"))
    files = []
    for i in range(6):
        file = tmp_path / f"{i}.png"
        photo.rotate(15 * i).crop((20 * i, 10 * i, 300 + 20 * i, 200 + 7 * i)).save(file)
        files.append(file)

    def ask(file: Path) -> tuple[np.ndarray, dict[str, Any]]:
        labels, _, facts = new_client().predict(handle_file(file), "fcn8s", api_name="/segment")
        return ids_of(labels), facts

    with ThreadPoolExecutor(len(files)) as people:
        answers = list(people.map(ask, files))
    for file, (labels, facts) in zip(files, answers, strict=True):
        expected = load_predictor("fcn8s").predict(file)
        np.testing.assert_array_equal(labels, expected.label_map)
        assert facts["classes"] == {name: round(share, 6) for name, share in expected.class_areas.items()}


# Refusals


def png(file: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.new(mode, (width, height)).save(file, "PNG")
    return file


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """A file per kind of trouble, and words of the message it must meet."""
    text, empty, cut = (folder / f"holiday_{name}.jpg" for name in ("text", "empty", "cut"))
    text.write_text("I am a text")
    empty.write_bytes(b"")
    cut.write_bytes(packaged_photo("rocket.jpg").read_bytes()[:9000])
    drawing = folder / "holiday_drawing.svg"
    drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><script>1</script></svg>')
    return {
        "text": (text, "not a picture"),
        "empty": (empty, "empty"),
        "truncated": (cut, "damaged or cut off"),
        "svg": (drawing, "not a picture"),
        "one pixel": (png(folder / "holiday_dot.png", 1, 1), "1 x 1 pixels"),
        "aspect": (png(folder / "holiday_line.png", 3000, 20), "20 times"),
        "pixels": (png(folder / "holiday_poster.png", 8000, 7000, "1"), "56 megapixels"),
    }


@pytest.mark.parametrize("endpoint", ["/segment", "/compare"])
@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "svg", "one pixel", "aspect", "pixels"])
def test_bad_photo_is_refused_with_the_reason(client, kind, endpoint, tmp_path):
    file, words = bad_files(tmp_path)[kind]
    with pytest.raises(Exception, match=words) as caught:
        client.predict(handle_file(file), api_name=endpoint)
    assert "holiday" not in str(caught.value)
    assert "/" not in str(caught.value).replace("http", "")
    assert "show_error" not in str(caught.value)


def test_too_many_bytes_are_refused_while_they_arrive(page_server, client, tmp_path):
    file = tmp_path / "holiday.jpg"
    file.write_bytes(bytes(30_000_001))
    with pytest.raises(ValueError, match="exceeds the maximum file size"):  # gradio_client asks before it sends
        client.predict(handle_file(file), api_name="/segment")
    answer = httpx.post(f"{page_server.url}/gradio_api/upload", files={"files": file.open("rb")}, timeout=120)
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text
    assert "holiday" not in answer.text


def test_no_photo_is_refused(client):
    with pytest.raises(AppError, match="Choose a photo first"):
        client.predict(None, "fcn8s", api_name="/segment")


def test_unknown_network_is_refused_with_the_known_ones(client, cat):
    for unknown in ("unnet", "", "../fcn8s", None):
        with pytest.raises(AppError, match=f"Unknown network; known: {', '.join(NETWORKS)}"):
            client.predict(handle_file(cat), unknown, api_name="/segment")


def post(server: PageServer, endpoint: str, data: list[Any]) -> str:
    """Ask without gradio_client, which would read a local path here and upload it."""
    address = f"{server.url}/gradio_api/call/{endpoint}"
    event = httpx.post(address, json={"data": data}, timeout=60).json()["event_id"]
    return httpx.get(f"{address}/{event}", timeout=300).text


@pytest.mark.parametrize("endpoint", ["segment", "compare"])
@pytest.mark.parametrize("extra", [{}, {"meta": META}, {"meta": META, "is_stream": True}, {"is_stream": True}])
@pytest.mark.parametrize("path", ["/etc/passwd", "PHOTO", "requirements.txt", "../../../../../../etc/passwd"])
def test_files_of_the_server_cannot_be_read(page_server, cat, path, extra, endpoint):
    path = str(cat) if path == "PHOTO" else path
    rest = ["fcn8s", False] if endpoint == "segment" else [None]
    said = post(page_server, endpoint, [{"path": path, **extra}, *rest])
    assert said.startswith("event: error")
    assert "not a picture" not in said  # that would mean it had been opened
    assert path not in said
    assert str(ROOT) not in said


def test_files_of_the_server_have_no_address(page_server, cat):
    for path in ("/etc/passwd", str(cat), str(ROOT / "app.py"), "checkpoints/README.md"):
        assert httpx.get(f"{page_server.url}/gradio_api/file={path}", timeout=60).status_code in (403, 404)


@pytest.mark.parametrize("extra", [{}, {"meta": META}])
def test_addresses_are_not_fetched(page_server, extra):
    own = f"{page_server.url}/config"  # a server that would answer
    said = post(page_server, "segment", [{"path": own, "url": own, **extra}, "fcn8s", False])
    assert said.startswith("event: error")
    assert ("Addresses are not fetched" in said) == bool(extra)
    assert "not a picture" not in said
    said = post(page_server, "segment", [{"path": None, "url": own, **extra}, "fcn8s", False])
    assert "Choose a photo first" in said


def test_the_server_goes_on_afterwards(client, cat):
    _, _, facts = client.predict(handle_file(cat), "fcn8s", api_name="/segment")
    assert facts["network"] == "fcn8s"

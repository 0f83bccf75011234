"""Pictures made from ids, against slow and obvious answers."""

from __future__ import annotations

import io
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from seg import render
from seg.classes import IGNORE_INDEX, VOC, Look


def random_map(seed: int, height: int = 23, width: int = 31, ids: tuple[int, ...] = (0, 8, 15)) -> np.ndarray:
    """Blocks of 3 x 3 pixels with ids drawn at random, cut to an odd size."""
    blocks = np.random.default_rng(seed).choice(ids, (height // 3 + 1, width // 3 + 1))
    return np.kron(blocks, np.ones((3, 3))).astype(np.uint8)[:height, :width]


def random_photo(seed: int, height: int = 23, width: int = 31) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(1, 255, (height, width, 3), np.uint8))


def test_indexed_png_keeps_ids_and_colours_through_a_file():
    label_map = np.arange(256, dtype=np.uint8).repeat(2).reshape(16, 32)
    file = io.BytesIO()
    render.to_indexed(label_map, VOC).save(file, "PNG")
    loaded = Image.open(file)
    assert loaded.mode == "P"
    np.testing.assert_array_equal(np.asarray(loaded), label_map)
    expected = [[VOC.colormap[i] for i in row] for row in label_map]
    np.testing.assert_array_equal(np.asarray(loaded.convert("RGB")), expected)


def test_indexed_picture_does_not_follow_later_changes_of_the_label_map():
    label_map = np.zeros((4, 5), np.uint8)
    picture = render.to_indexed(label_map, VOC)
    label_map[:] = 7
    assert not np.asarray(picture).any()


def test_colourise_looks_every_pixel_up():
    label_map = random_map(1, ids=(0, 3, 20, IGNORE_INDEX))
    colours = render.colourise(label_map, VOC)
    assert colours.dtype == np.uint8
    for y, x in np.ndindex(*label_map.shape):
        assert tuple(colours[y, x]) == tuple(VOC.colormap[label_map[y, x]])


@pytest.mark.parametrize("wrong", [np.zeros((4, 5), np.int64), np.zeros((4, 5, 1), np.uint8)])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\(H, W\) uint8"):
        render.colourise(wrong, VOC)


def outlines_by_hand(label_map: np.ndarray, width: int) -> np.ndarray:
    height, length = label_map.shape
    rim = np.zeros(label_map.shape, bool)
    for y, x in np.ndindex(height, length):
        steps = [(dy, 0) for dy in range(-width, width + 1)] + [(0, dx) for dx in range(-width, width + 1)]
        near = {label_map[y + dy, x + dx] for dy, dx in steps if 0 <= y + dy < height and 0 <= x + dx < length}
        rim[y, x] = label_map[y, x] != 0 and near != {label_map[y, x]}
    return rim


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_outlines_against_a_loop_over_pixels(seed, width):
    label_map = random_map(seed)
    np.testing.assert_array_equal(render.outlines(label_map, width=width), outlines_by_hand(label_map, width))


def test_outlines_do_not_depend_on_direction():
    label_map = random_map(5)
    rim = render.outlines(label_map)
    np.testing.assert_array_equal(render.outlines(label_map[::-1]), rim[::-1])
    np.testing.assert_array_equal(render.outlines(label_map[:, ::-1]), rim[:, ::-1])
    np.testing.assert_array_equal(render.outlines(label_map.T), rim.T)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_outlines_of_one_object_that_fills_the_picture_are_empty(shape):
    assert not render.outlines(np.full(shape, 4, np.uint8), width=3).any()


def test_outline_of_no_width_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        render.outlines(random_map(0), width=0)


def test_overlay_leaves_background_away_from_outlines_as_it_was():
    photo = random_photo(2, 64, 80)
    label_map = np.zeros((64, 80), np.uint8)
    label_map[20:40, 30:60] = 12
    shown = np.asarray(render.overlay(photo, label_map, VOC))
    original = np.asarray(photo)

    changed = (shown != original).any(axis=2)
    assert not changed[:19].any()
    assert not changed[41:].any()
    assert not changed[:, :29].any()
    assert not changed[:, 61:].any()
    assert (shown[20, 30:60] == VOC.colours[12]).all()  # the outline, at full strength
    assert (shown[19, 30:60] == 255).all()  # its light edge
    inside = original[22:38, 32:58] * 0.4 + np.array(VOC.colours[12]) * 0.6
    np.testing.assert_allclose(shown[22:38, 32:58], inside, atol=1)


def test_overlay_takes_other_colours_and_patterns():
    label_map = np.full((48, 64), 5, np.uint8)
    looks = {5: Look((9, 9, 9), 1)}
    shown = np.asarray(render.overlay(random_photo(4, 48, 64), label_map, VOC, opacity=1, looks=looks))
    assert {tuple(map(int, colour)) for colour in shown.reshape(-1, 3)} == {(9, 9, 9), (255, 255, 255)}


def test_overlay_of_background_alone_is_the_photo():
    photo = random_photo(3)
    shown = render.overlay(photo, np.zeros((23, 31), np.uint8), VOC)
    assert shown is not photo
    assert shown.tobytes() == photo.tobytes()


def test_overlay_opacity_runs_from_photo_to_plain_colour():
    photo, label_map = random_photo(4), np.full((23, 31), 5, np.uint8)
    assert render.overlay(photo, label_map, VOC, opacity=0).tobytes() == photo.tobytes()
    assert (np.asarray(render.overlay(photo, label_map, VOC, opacity=1)) == VOC.colours[5]).all()


def test_overlay_refuses_another_photos_label_map_and_odd_opacity():
    with pytest.raises(ValueError, match="31"):
        render.overlay(random_photo(4), random_map(4).T, VOC)
    with pytest.raises(ValueError, match=r"1\.5"):
        render.overlay(random_photo(4), random_map(4), VOC, opacity=1.5)


def test_overlay_outlines_grow_with_the_photo():
    label_map = np.zeros((1400, 1400), np.uint8)
    label_map[300:900, 300:900] = 1
    shown = np.asarray(render.overlay(Image.new("RGB", (1400, 1400), "white"), label_map, VOC))
    assert (shown[600, 300:304] == VOC.colours[1]).all()
    assert (shown[600, 304] != VOC.colours[1]).any()


def test_confidence_is_drawn_in_viridis_from_dark_to_light():
    confidence = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    picture = render.confidence_picture(confidence)
    assert picture.mode == "RGB"
    colours = np.asarray(picture).reshape(-1, 3)
    assert tuple(colours[0]) == (68, 1, 84)
    assert tuple(colours[255]) == (253, 231, 36)
    lightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -0.5).all()
    assert lightness[255] > lightness[0] + 150


def test_a_signed_picture_is_white_at_zero_and_tells_signs_apart() -> None:
    colours = np.asarray(render.signed_picture(np.array([[0.0, 2.0, 1.0], [-2.0, -1.0, 9.0]]), most=2.0)).astype(int)
    white, full_above, above = colours[0]
    full_below, below, beyond = colours[1]
    assert (white == 255).all()
    assert np.abs(above - (white + full_above) / 2).max() <= 1
    assert np.abs(below - (white + full_below) / 2).max() <= 1
    assert (beyond == full_above).all()
    assert full_above.argmax() == 1  # green
    assert full_below.argmax() == 0  # orange
    assert (np.asarray(render.signed_picture(np.zeros((2, 3)))) == 255).all()


def disagreement_by_hand(answers: tuple[int, ...]) -> int:
    count = len(answers)
    if len(set(answers)) == 1:
        return 0
    if count > 3:
        return count - max(answers.count(answer) for answer in answers)
    if count > 2:
        for i in range(count):
            others = set(answers[:i] + answers[i + 1 :])
            if len(others) == 1 and answers[i] not in others:
                return i + 1
    return count + 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_disagreement_against_every_combination_of_answers(count):
    answers = list(itertools.product(range(min(count, 4)), repeat=count))
    maps = [np.array([answer[i] for answer in answers], np.uint8)[None] for i in range(count)]
    codes = render.disagreement(maps)
    assert codes.dtype == np.uint8
    assert codes[0].tolist() == [disagreement_by_hand(answer) for answer in answers]


def test_disagreement_in_words():
    cat, dog, person = (np.full((1, 1), i, np.uint8) for i in (8, 12, 15))
    assert render.disagreement([cat, cat, cat]) == 0
    assert render.disagreement([dog, cat, cat]) == 1
    assert render.disagreement([cat, cat, dog]) == 3
    assert render.disagreement([cat, dog, person]) == 4
    assert render.disagreement([cat, cat]) == 0
    assert render.disagreement([cat, dog]) == 3
    assert render.disagreement([cat, cat, dog, dog, person]) == 3  # of five, the largest group has two


def test_disagreement_needs_maps_of_one_size():
    with pytest.raises(ValueError, match="one photo"):
        render.disagreement([])
    with pytest.raises(ValueError, match="one photo"):
        render.disagreement([random_map(0), random_map(0).T])


@pytest.mark.parametrize("count", range(1, render.MOST_COMPARED + 1))
def test_disagreement_picture_has_one_colour_per_code(count):
    colours = render.disagreement_colours(count)
    assert len(colours) == len(set(colours)) == (count + 2 if count <= 3 else count)
    codes = np.arange(len(colours), dtype=np.uint8)[None]
    picture = render.disagreement_picture(codes, count=count)
    np.testing.assert_array_equal(np.asarray(picture), codes)
    assert [tuple(colour) for colour in np.asarray(picture.convert("RGB"))[0].tolist()] == list(colours)


def test_there_are_not_endless_colours_for_networks():
    with pytest.raises(ValueError, match="compare fewer"):
        render.disagreement_colours(render.MOST_COMPARED + 1)


def test_legend_in_both_languages():
    assert render.legend(VOC, np.array([8, 0])) == [(8, "cat", "#400000"), (0, "background", "#000000")]
    assert render.legend(VOC, [15, 255], language="zh") == [(15, "人", "#c08080"), (255, "无标注", "#e0e0c0")]
    with pytest.raises(ValueError, match="no id 21"):
        render.legend(VOC, [21])
    with pytest.raises(ValueError, match="'fr'"):
        render.legend(VOC, [1], language="fr")


@pytest.mark.parametrize(("share", "text"), [(0.3127, "31.3 %"), (1, "100.0 %"), (0.0001, "< 0.1 %"), (0, "0.0 %")])
def test_share_text(share, text):
    assert render.share_text(share) == text


@pytest.mark.parametrize(("height", "width"), [(300, 451), (8, 8), (700, 60), (60, 700)])
def test_triptych_is_1500_wide_and_not_endlessly_high(height, width):
    figure = render.triptych(random_photo(6, height, width), random_map(6, height, width), VOC, title="U-Net: $x$")
    assert figure.mode == "RGB"
    assert figure.width == 1500
    assert 300 < figure.height < 1300
    colours = set(map(tuple, np.asarray(figure).reshape(-1, 3)[::3].tolist()))
    assert {VOC.colours[8], VOC.colours[15], (255, 255, 255)} <= colours


def test_triptych_holds_all_classes_in_its_legend():
    label_map = np.arange(21, dtype=np.uint8).repeat(20).reshape(20, 21)
    figure = np.asarray(render.triptych(random_photo(7, 20, 21), label_map, VOC))
    assert (figure[:, [0, -1]] == 255).all()
    assert (figure[[0, -1]] == 255).all()


def test_triptychs_drawn_in_threads_are_alike():
    photo, label_map = random_photo(8), random_map(8)
    alone = render.triptych(photo, label_map, VOC, title="one").tobytes()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: render.triptych(photo, label_map, VOC, title="one").tobytes(), range(4)))
    assert together == [alone] * 4


def test_what_changed_is_red_and_the_rest_grey():
    changed = np.zeros((4, 6), bool)
    changed[1, 2] = True
    shown = np.asarray(render.changed_picture(Image.new("RGB", (6, 4), (10, 200, 90)), changed)).astype(int)
    assert tuple(shown[1, 2]) == (204, 0, 34)
    assert (np.ptp(shown[~changed], axis=1) == 0).all()

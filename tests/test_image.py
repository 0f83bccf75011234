"""The files people upload, made here: every one becomes an upright RGB picture or a message that says what to do."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seg import image as limits
from seg.image import InvalidImageError, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """40 x 24 pixels: red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (40, 24), WHITE)
    image.paste(RED, (0, 0, 20, 12))
    image.paste(GREEN, (20, 0, 40, 12))
    image.paste(BLUE, (0, 12, 20, 24))
    return image


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def assert_corners(image: Image.Image, tolerance: int = 0) -> None:
    assert (image.mode, image.size) == ("RGB", (40, 24))
    pixels = np.asarray(image)[[4, 4, 19, 19], [8, 31, 8, 31]].astype(int)
    assert np.abs(pixels - [RED, GREEN, BLUE, WHITE]).max() <= tolerance, pixels


def refusal(photo: object) -> InvalidImageError:
    with pytest.raises(InvalidImageError) as caught:
        read_image(photo)  # type: ignore[arg-type]
    return caught.value


# Formats


@pytest.mark.parametrize(("kind", "options", "tolerance"), [
    ("PNG", {}, 0),
    ("BMP", {}, 0),
    ("TIFF", {}, 0),
    ("TIFF", {"compression": "tiff_lzw"}, 0),
    ("WEBP", {"lossless": True}, 0),
    ("WEBP", {"quality": 95}, 30),
    ("JPEG", {"quality": 95, "subsampling": 0}, 10),
    ("JPEG", {"quality": 95, "progressive": True, "subsampling": 0}, 10),
    ("MPO", {"quality": 95, "subsampling": 0}, 10),
    ("GIF", {}, 0),
])  # fmt: skip
def test_every_accepted_format_opens(kind: str, options: dict[str, object], tolerance: int) -> None:
    assert_corners(read_image(file_of(corners(), kind, **options)), tolerance)


def test_path_text_path_bytes_and_picture_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "照片 ümlaut 🐈.png"
    corners().save(file)
    for photo in (file, str(file), file.read_bytes(), corners(), np.asarray(corners())):
        assert_corners(read_image(photo))


def test_the_file_ending_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "photo.txt"
    file.write_bytes(file_of(corners(), "PNG"))
    assert_corners(read_image(file))


# Pixels of other kinds


def test_cmyk_jpeg_keeps_its_colours() -> None:
    data = file_of(corners().convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert_corners(read_image(data), tolerance=12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 16).reshape(16, 64).astype(np.uint16)
    pixels = np.asarray(read_image(file_of(Image.fromarray(ramp), kind)))
    np.testing.assert_allclose(pixels, np.repeat(ramp[..., None] / 257, 3, axis=2), atol=0.51)


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = np.full((16, 16), 200, np.uint16)
    assert np.asarray(read_image(file_of(Image.fromarray(dark), "PNG"))).max() == 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-5.0, 3e38), (0.0, 255.0)])
def test_float_and_32_bit_pictures_are_stretched(low: float, high: float) -> None:
    values = np.linspace(low, high, 16 * 16, dtype=np.float32).reshape(16, 16)
    pixels = np.asarray(read_image(file_of(Image.fromarray(values), "TIFF")))
    assert (pixels.min(), pixels.max()) == (0, 255)
    integers = (np.arange(256).reshape(16, 16) * 1000 - 70000).astype(np.int32)
    np.testing.assert_array_equal(np.asarray(read_image(Image.fromarray(integers)))[..., 0].ravel(), np.arange(256))


def test_float_picture_with_nan_and_infinity_opens() -> None:
    values = np.ones((16, 16), np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    assert read_image(Image.fromarray(values)).mode == "RGB"


def test_transparency_lies_on_white() -> None:
    rgba = corners().convert("RGBA")
    rgba.paste((0, 0, 0, 0), (0, 12, 20, 24))
    for kind in ("PNG", "TIFF"):
        assert read_image(file_of(rgba, kind)).getpixel((8, 19)) == WHITE
    rgba.putpixel((8, 19), (0, 0, 0, 128))
    assert read_image(file_of(rgba, "PNG")).getpixel((8, 19)) == (127, 127, 127)


def test_grey_with_alpha_lies_on_white() -> None:
    image = read_image(file_of(Image.new("LA", (16, 16), (100, 0)), "PNG"))
    assert image.getpixel((5, 5)) == WHITE


def test_transparent_palette_entry_is_white() -> None:
    data = file_of(corners().quantize(4), "PNG")
    palette = Image.open(io.BytesIO(data))
    assert palette.mode == "P"
    assert_corners(read_image(data))
    index = palette.getpixel((8, 19))
    data = file_of(corners().quantize(4), "PNG", transparency=index)
    assert read_image(data).getpixel((8, 19)) == WHITE
    assert read_image(data).getpixel((8, 4)) == RED


def test_transparent_colour_of_an_rgb_png_is_white() -> None:
    data = file_of(corners(), "PNG", transparency=BLUE)
    assert read_image(data).getpixel((8, 19)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "La", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV",
                                  "LAB", "I", "F", "I;16", "I;16B"])  # fmt: skip
def test_every_kind_of_pillow_picture_becomes_rgb(mode: str) -> None:
    image = read_image(Image.new(mode, (16, 12)))
    assert (image.mode, image.size) == ("RGB", (16, 12))


def test_one_bit_is_black_and_white() -> None:
    image = read_image(file_of(corners().convert("1", dither=Image.Dither.NONE), "PNG"))
    assert (image.getpixel((8, 19)), image.getpixel((31, 19))) == ((0, 0, 0), WHITE)


# Orientation, frames, metadata


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    # How a camera stores the upright picture: the inverse of what the EXIF standard tells the viewer to do.
    stored = {
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"], 5: ["TRANSPOSE"],
        6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }[orientation]  # fmt: skip
    image = corners()
    for step in stored:
        image = image.transpose(Image.Transpose[step])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    read = read_image(file_of(image, kind, exif=exif, **options))
    assert_corners(read, tolerance=10)
    assert not read.getexif(), "an orientation left behind would be applied twice"


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientation_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_corners(read_image(file_of(corners(), "PNG", exif=exif)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_refuse_good_pixels() -> None:
    data = file_of(corners(), "JPEG", quality=95, subsampling=0)
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x63"
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + data[2:]
    assert_corners(read_image(data), tolerance=10)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_many_frames_counts(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    others = [Image.new("RGB", (40, 24), colour) for colour in (BLUE, GREEN)]
    data = file_of(corners(), kind, save_all=True, append_images=others, **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert_corners(read_image(data))


def test_metadata_is_left_behind() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    image = read_image(file_of(corners(), "JPEG", exif=exif, comment=b"secret", dpi=(300, 300)))
    assert not image.info
    assert not image.getexif()
    assert b"taken at home" not in file_of(image, "JPEG")


def test_the_callers_picture_is_not_changed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.open(io.BytesIO(file_of(corners(), "PNG", exif=exif)))
    read = read_image(photo)
    assert read.size == (24, 40)
    assert photo.size == (40, 24)
    read.paste(BLUE, (0, 0, 24, 40))
    assert_corners(photo.convert("RGB"))


# What is no picture


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="24"><rect width="9" height="9"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 24\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    "data",
    [SVG, EPS, b"hello", b"\0" * 1000, b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a",
     file_of(corners(), "ICO"), file_of(corners(), "PPM"), file_of(corners(), "TGA")],
    ids=["svg", "eps", "text", "zeros", "pdf", "png-head", "jpeg-head", "gif-head", "ico", "ppm", "tga"],
)  # fmt: skip
def test_what_is_no_photo_is_refused_with_the_formats_to_use(data: bytes) -> None:
    error = refusal(data)
    assert error.reason == "not_image"
    assert "use a JPEG, PNG, WebP, GIF, BMP or TIFF file" in str(error)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for photo in (b"", tmp_path / "empty.jpg"):
        error = refusal(photo)
        assert (error.reason, str(error)) == ("empty", "the file is empty; choose a photo")


def test_missing_file_and_folder_are_refused_by_the_given_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, cause in (("nothing.jpg", "No such file"), ("folder", "not a file"), ("a\0b", "not a path")):
        error = refusal(name)
        assert error.reason == "missing"
        assert f"cannot open {name}: " in str(error)
        assert cause in str(error)
        assert "give the path of a photo" in str(error)
        assert str(tmp_path) not in str(error)  # a web page must not learn where it runs


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a Unix thing")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").reason == "missing"


@pytest.mark.parametrize("photo", [None, 5, ["a.jpg"], {"path": "a.jpg"}])
def test_what_is_no_photo_at_all_is_refused(photo: object) -> None:
    error = refusal(photo)
    assert error.reason == "missing"
    assert "choose a photo" in str(error)


@pytest.mark.parametrize("array", [
    np.zeros((16, 16, 3), np.float32), np.zeros((16, 16, 3), np.int64), np.zeros((16, 16), np.uint8),
    np.zeros((16, 16, 4), np.uint8), np.zeros((3, 16, 16), np.uint8), np.zeros((1, 16, 16, 3), np.uint8),
])  # fmt: skip
def test_an_array_of_another_kind_is_refused(array: np.ndarray) -> None:
    error = refusal(array)
    assert error.reason == "array"
    assert f"{array.shape} of {array.dtype}; give (H, W, 3) uint8 RGB" in str(error)


def test_arrays_in_any_memory_order_are_read() -> None:
    flipped = np.asarray(corners().transpose(Image.Transpose.FLIP_LEFT_RIGHT))[:, ::-1]
    assert_corners(read_image(flipped))
    assert_corners(read_image(np.asfortranarray(np.asarray(corners()))))


# Limits


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and has none: decoding it would fail."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height", "reason", "part"), [
    (8000, 7000, "pixels", "56 megapixels; at most 50 are accepted: make it smaller"),
    (10_000, 10_000, "pixels", "100 megapixels"),  # Pillow only warns here
    (19_999, 19_999, "pixels", "megapixels; at most 50 are accepted"),  # and raises its own error here
    (20_001, 2000, "side", "20001 x 2000 pixels; a side may have at most 20000: make it smaller"),
    (193, 31_237, "side", "193 x 31237"),
    (8, 161, "aspect", "8 x 161 pixels; one side may be at most 20 times the other: crop it"),
    (1, 1, "tiny", "1 x 1 pixels; each side needs at least 8: use a larger one"),
    (1, 500, "tiny", "1 x 500"),
    (7, 7, "tiny", "7 x 7"),
])  # fmt: skip
def test_sizes_outside_the_limits_are_refused_from_the_header(width: int, height: int, reason: str, part: str) -> None:
    error = refusal(png_header(width, height))
    assert (error.reason, part in str(error)) == (reason, True), str(error)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_where_warnings_are_errors() -> None:
    assert refusal(png_header(10_000, 10_000)).reason == "pixels"


def test_the_limits_hold_for_pictures_and_arrays_too() -> None:
    assert refusal(Image.new("1", (8000, 7000))).reason == "pixels"
    assert refusal(np.zeros((4, 400, 3), np.uint8)).reason == "tiny"
    assert refusal(np.zeros((0, 16, 3), np.uint8)).reason == "tiny"
    assert refusal(np.zeros((9, 400, 3), np.uint8)).reason == "aspect"


def test_pictures_at_the_limits_are_read() -> None:
    assert read_image(Image.new("RGB", (8, 8))).size == (8, 8)
    assert read_image(Image.new("RGB", (160, 8))).size == (160, 8)


def test_a_file_with_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.write(file_of(corners(), "PNG"))
        file.truncate(limits.MAX_BYTES + 1_000_000)  # a hole: takes no room on the disk
    error = refusal(tmp_path / "huge.png")
    assert (error.reason, str(error)) == (
        "bytes", "the file has 31 MB; at most 30 MB are accepted: save it smaller",
    )  # fmt: skip


def test_values_carry_the_numbers_of_the_message() -> None:
    error = refusal(png_header(8, 161))
    assert error.values == {"size": "8 x 161", "limit": 20}
    for value in error.values.values():
        assert str(value) in str(error)


# Damage

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
VALID = {
    "jpeg": file_of(NOISE, "JPEG"),
    "progressive": file_of(NOISE, "JPEG", progressive=True),
    "png": file_of(NOISE, "PNG"),
    "palette": file_of(NOISE.quantize(16), "PNG", transparency=3),
    "webp": file_of(NOISE, "WEBP"),
    "gif": file_of(NOISE, "GIF", save_all=True, append_images=[corners()]),
    "bmp": file_of(NOISE, "BMP"),
    "tiff": file_of(NOISE, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata
@pytest.mark.parametrize("kind", VALID)
def test_cut_off_files_are_refused_or_read_but_never_crash(kind: str) -> None:
    data = VALID[kind]
    refused = 0
    for length in range(1, len(data) - 1, max(1, len(data) // 60)):
        try:
            assert read_image(data[:length]).mode == "RGB"
        except InvalidImageError as error:
            assert error.reason in {"not_image", "damaged", "tiny", "side", "aspect", "pixels"}
            refused += 1
    assert refused >= 20


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp"])
def test_half_a_file_is_called_damaged(kind: str) -> None:
    error = refusal(VALID[kind][: len(VALID[kind]) // 2])
    assert error.reason == "damaged"
    assert "damaged or cut off; open it in a viewer and save it again" in str(error)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(sorted(VALID)),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
    cut=st.one_of(st.none(), st.integers(20, 4000)),
)
def test_mutated_files_are_read_or_refused(kind: str, changes: list[tuple[int, bytes]], cut: int | None) -> None:
    data = bytearray(VALID[kind])
    for where, new in changes:
        at = where % len(data)
        data[at : at + len(new)] = new
    data = data[:cut]
    try:
        image = read_image(bytes(data))
    except InvalidImageError as error:
        assert error.reason in {"not_image", "damaged", "tiny", "side", "aspect", "pixels"}
        assert "; " in str(error)  # cause; next step
    else:
        assert image.mode == "RGB"
        np.asarray(image)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refusal(data).reason in {"empty", "not_image"}

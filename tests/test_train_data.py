"""The data side of the trainer: lists, labels, class files, checks, the drawn shapes, the official download."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_BACKBONE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ExifTags, Image
from scipy.io import savemat

import seg.__main__
import train.__main__
import train.download
from seg import list_checkpoints, load_predictor
from seg.card import load_card
from seg.classes import IGNORE_INDEX, VOC, ClassSet, voc_colours
from train.config import Recipe, load_class_set, load_recipe
from train.data import BadPairsError, Pair, check_pairs, csv_pairs, data_title, evenly_chosen, listed_pairs, voc_pairs
from train.labels import colour_label, indexed_label, read_label
from train.loop import fit
from train.shapes import SHAPES, class_file, write_shapes
from train.split import split_pairs, split_source, write_split

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn pictures of 48 x 48 pixels; read only."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, images=12, side=48)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """`python -m train ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    train.__main__.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# Labels


@given(ids=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from(
    [*range(len(VOC)), IGNORE_INDEX])))  # fmt: skip
def test_labels_come_back_from_ids_and_from_colours(ids: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("labels")
    rgb = colour_label(ids, VOC)
    pictures = {
        "indexed": indexed_label(ids, VOC), "grey": Image.fromarray(ids), "sixteen": Image.fromarray(ids.astype("u2")),
        "colour": rgb, "alpha": rgb.convert("RGBA"),
    }  # fmt: skip
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
        read = read_label(folder / f"{name}.png", VOC)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, ids, err_msg=name)


def test_black_and_white_labels_are_ids_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_label(tmp_path / "mask.png", VOC), [[0, 1]])


@pytest.mark.parametrize(("picture", "message"), [
    (Image.fromarray(np.array([[0, 20, 21, 30, 255]], np.uint8)), r"has id 21, 30; there are 21 classes in 'voc'"),
    (Image.fromarray(np.array([[0, 256, 300, 301, 302]], np.uint16)), r"has id 256, 300, 301 and 1 more; there"),
    (Image.new("RGB", (3, 2), (1, 2, 3)), r"has colour \(1, 2, 3\), of no class in 'voc'; list it in the class file"),
    (Image.new("LA", (3, 2)), r"is a picture of mode LA; save labels as an indexed, grey or RGB PNG"),
])  # fmt: skip
def test_what_a_label_must_not_hold_is_named(picture: Image.Image, message: str, tmp_path: Path) -> None:
    picture.save(tmp_path / "bad.png")
    with pytest.raises(ValueError, match=r"bad\.png " + message):
        read_label(tmp_path / "bad.png", VOC)


def test_two_classes_of_one_colour_are_told_apart_by_ids_alone(tmp_path: Path) -> None:
    twins = ClassSet("twins", ("background", "left", "right"), ("",) * 3, ((0, 0, 0), (9, 9, 9), (9, 9, 9)))
    ids = np.array([[0, 1, 2]], np.uint8)
    indexed_label(ids, twins).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_label(tmp_path / "ids.png", twins), ids)
    colour_label(ids, twins).save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match="gives left and right one colour"):
        read_label(tmp_path / "colours.png", twins)


def test_a_class_with_the_cream_of_no_label_keeps_its_colour(tmp_path: Path) -> None:
    cream = ClassSet("cream", ("background", "wall"), ("", ""), ((0, 0, 0), (224, 224, 192)))
    colour_label(np.array([[0, 1]], np.uint8), cream).save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", cream), [[0, 1]])


# Class files


def test_a_class_file_comes_back(tmp_path: Path) -> None:
    odd = ClassSet("odd", ("nothing", 'a "quoted" one', "back\\slash"), ("无", "引", "斜"), voc_colours(3))
    for classes in (SHAPES, odd):
        (tmp_path / "classes.toml").write_text(class_file(classes), "utf-8")
        assert load_class_set(tmp_path / "classes.toml") == classes


def test_a_class_file_needs_only_names(tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text('name = "pets"\nnames = ["background", "cat"]\n')
    found = load_class_set(tmp_path / "classes.toml")
    assert (found.names, found.names_zh) == (("background", "cat"), ("background", "cat"))
    assert found.colours == VOC.colours[:2]


@pytest.mark.parametrize(("text", "message"), [
    ('name = "a"\n', "missing key names; a class file has colours, name, names, names_zh"),
    ('name = "a"\nnames = "cat"\n', "key names takes a list of words"),
    ('name = "a"\nnames = ["cat", 3]\n', "key names takes a list of words"),
    ('name = "a"\nnames = ["a", "b"]\ncolors = []\n', "unknown key colors"),
    ('name = "a"\nnames = ["a", "b"]\ncolours = [1, 2]\n', r"classes\.toml: "),
    ('name = "a"\nnames = ["a", "b"]\ncolours = [[0, 0, 0], [0, 0, 256]]\n', "colour of class 'b' must be three"),
    ('name = "a"\nnames = ["a", "a"]\n', "names a class twice"),
    ("name = \n", "is not TOML"),
])  # fmt: skip
def test_mistakes_in_a_class_file_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_class_set(tmp_path / "classes.toml")
    with pytest.raises(FileNotFoundError, match=r"no class file .*none\.toml; set `classes`"):
        load_class_set(tmp_path / "none.toml")


# Lists


def test_paths_in_a_csv_are_relative_to_it(shapes: Path, tmp_path: Path) -> None:
    pairs = listed_pairs(shapes, "train.csv", SHAPES)
    assert len(pairs) == 9
    assert all(pair.image.parent == shapes / "images" for pair in pairs)
    elsewhere = tmp_path / "list.csv"
    elsewhere.write_text(f"\ufeffweather,label,image\nsunny,{pairs[0].label},{pairs[0].image}\n", "utf-8")
    assert listed_pairs(Path("ignored"), str(elsewhere), SHAPES) == pairs[:1]


@pytest.mark.parametrize(("text", "message"), [
    ("a.jpg,a.png\n", r"list\.csv starts with \['a\.jpg', 'a\.png'\]; its first line must be: image,label"),
    ("image;label\na.jpg;a.png\n", r"first line must be: image,label"),
    ("", r"starts with None; its first line must be"),
    ("image,label\n", r"names no pictures; one pair per line"),
    ("image,label\na.jpg,a.png\nb.jpg\n", r"list\.csv, line 3: give the paths of an image and of its label"),
])  # fmt: skip
def test_mistakes_in_a_csv_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        csv_pairs(tmp_path / "list.csv")
    with pytest.raises(FileNotFoundError, match=r"no list .*none\.csv; `python -m train split` writes"):
        csv_pairs(tmp_path / "none.csv")


def test_a_card_says_which_list_it_was(shapes: Path) -> None:
    assert data_title(shapes, "val.csv", SHAPES, 40) == "shapes/val.csv, 40 images"
    assert data_title(Path("x/VOC2012"), "val", VOC, 1100) == "VOC 2012 val, 1,100 of 1,449 images"


# Splitting


NAMES = st.sets(st.integers(0, 999), min_size=3, max_size=60)


@given(names=NAMES, seed=st.integers(0, 9), order=st.randoms())
def test_a_split_is_disjoint_exhaustive_and_depends_on_names_and_seed_alone(names, seed, order) -> None:  # type: ignore[no-untyped-def]
    pairs = [Pair(Path(f"{name}.jpg"), Path(f"{name}.png")) for name in sorted(names)]
    parts = split_pairs(pairs, seed=seed)
    assert list(parts) == ["train", "val", "test"]
    everything = [pair.image.name for part in parts.values() for pair in part]
    assert sorted(everything) == sorted(pair.image.name for pair in pairs)
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert parts[name]
        assert abs(len(parts[name]) - share * len(pairs)) <= 1.5
    order.shuffle(pairs)
    assert split_pairs(pairs, seed=seed) == parts


def test_a_split_of_ten_is_seven_one_two_and_another_seed_gives_another() -> None:
    pairs = [Pair(Path(f"{name}.jpg"), Path(f"{name}.png")) for name in range(10)]
    assert [len(part) for part in split_pairs(pairs).values()] == [7, 1, 2]
    assert split_pairs(pairs) != split_pairs(pairs, seed=1)
    # The same in every version of Python and NumPy: lists made today must be found again.
    assert [pair.image.stem for name in ("val", "test") for pair in split_pairs(pairs)[name]] == EXPECTED_OF_TEN
    with pytest.raises(ValueError, match="need at least 3 pairs, got 2"):
        split_pairs(pairs[:2])
    with pytest.raises(ValueError, match=r"3\.jpg occurs twice"):
        split_pairs([*pairs, pairs[3]])


EXPECTED_OF_TEN = ["0", "6", "9"]


def test_folders_are_split_by_command(shapes: Path, tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    run(monkeypatch, "split", shapes / "images", shapes / "labels", "--out", tmp_path / "lists", "--seed", 5)
    assert "train.csv: 9 pairs" in capsys.readouterr().out
    listed = [
        pair for name in ("train", "val", "test") for pair in csv_pairs(tmp_path / "lists" / f"{name}.csv", SHAPES)
    ]
    assert {pair.label.resolve().name for pair in listed} == {f"{i:04d}.png" for i in range(12)}
    check_pairs(listed)
    with pytest.raises(SystemExit, match=r"train\.csv exists; remove it, or choose another folder with --out"):
        run(monkeypatch, "split", shapes / "pairs.csv", "--out", tmp_path / "lists")
    with pytest.raises(SystemExit, match=r"is a folder; name the folder of its labels too"):
        run(monkeypatch, "split", shapes / "images")


def test_a_split_of_the_same_csv_gives_the_same_files(shapes: Path, tmp_path: Path) -> None:
    for name in ("once", "again"):
        write_split(split_source(shapes / "pairs.csv", None)[0], tmp_path / name, seed=3)
    assert contents(tmp_path / "once") == contents(tmp_path / "again")
    assert contents(tmp_path / "once")["val.csv"] == contents(tmp_path / "again")["val.csv"]


def test_pictures_without_a_partner_are_counted(tmp_path: Path) -> None:
    for folder, names in (("images", ("a.jpg", "b.JPG", "c.jpg")), ("labels", ("a.png", "notes.txt"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    with pytest.raises(ValueError, match=r"2 pictures stand in only one of .*images and .*labels, for example b;"):
        split_source(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "images" / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have one name"):
        split_source(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        split_source(tmp_path / "images" / "nowhere", tmp_path / "labels")


# Checks before the first step


def broken_pairs(folder: Path) -> tuple[list[Pair], list[str]]:
    """One pair of every kind of mistake, and what must be said about each."""
    photo, label = Image.effect_noise((60, 40), 50).convert("RGB"), Image.new("L", (60, 40), 1)
    photo.save(folder / "good.jpg")
    label.save(folder / "good.png")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:900])
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:-20])
    (folder / "page.jpg").write_text("<html>not found</html>")
    Image.new("L", (40, 60)).save(folder / "turned.png")
    Image.new("L", (60, 40), 99).save(folder / "id.png")
    Image.new("RGB", (60, 40), "pink").save(folder / "pink.png")
    mistakes = [
        ("none.jpg", "good.png", "there is no .*none.jpg"),
        ("good.jpg", "none.png", "there is no .*none.png"),
        ("cut.jpg", "good.png", "cut.jpg: the picture is damaged or cut off"),
        ("page.jpg", "good.png", "page.jpg: this is not a picture"),
        ("good.jpg", "cut.png", "cut.png cannot be read as a picture"),
        ("good.jpg", "page.jpg", "page.jpg cannot be read as a picture"),
        ("good.jpg", "turned.png", "good.jpg is 60 x 40 pixels, its label .*turned.png is 40 x 60"),
        ("good.jpg", "id.png", "id.png has id 99; there are 5 classes"),
        ("good.jpg", "pink.png", r"pink.png has colour \(255, 192, 203\), of no class in 'shapes'"),
    ]
    return [Pair(folder / a, folder / b, SHAPES) for a, b, _ in mistakes], [message for *_, message in mistakes]


def test_every_kind_of_bad_pair_is_named(tmp_path: Path) -> None:
    pairs, messages = broken_pairs(tmp_path)
    good = Pair(tmp_path / "good.jpg", tmp_path / "good.png", SHAPES)
    np.testing.assert_array_equal(check_pairs([good]), [[False, True, False, False, False]])
    for pair, message in zip(pairs, messages, strict=True):
        with pytest.raises(BadPairsError, match=rf"1 of 2 pairs cannot be used; mend (.|\n)*\n  .*{message}"):
            check_pairs([good, pair])


def test_some_of_a_list_are_spread_over_all_of_it() -> None:
    pairs = [Pair(Path(f"{i}.jpg"), Path(f"{i}.png")) for i in range(10)]
    assert [pair.image.stem for pair in evenly_chosen(pairs, 7)] == ["0", "1", "2", "4", "5", "7", "8"]
    assert [pair.image.stem for pair in evenly_chosen(pairs, 2)] == ["0", "5"]
    assert evenly_chosen(pairs, 99) == pairs
    assert evenly_chosen(pairs, 0) == evenly_chosen([], 3) == []


def test_all_bad_pairs_are_counted_and_the_first_named(tmp_path: Path) -> None:
    pairs, _ = broken_pairs(tmp_path)
    good = Pair(tmp_path / "good.jpg", tmp_path / "good.png", SHAPES)
    with pytest.raises(BadPairsError) as caught:
        check_pairs([good, *pairs] * 3, named=4)
    head, *named, last = str(caught.value).splitlines()
    assert head.startswith("27 of 30 pairs")
    assert len(named) == 4
    assert "none.jpg" in named[0]
    assert last.strip() == "... and 23 more"


def test_a_photograph_that_lies_on_its_side_is_turned_before_it_meets_its_label(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "side.jpg", exif=exif)
    Image.new("L", (40, 60)).save(tmp_path / "side.png")
    image, label = Pair(tmp_path / "side.jpg", tmp_path / "side.png").load()
    assert image.size == label.size == (40, 60)


def tiny_recipe(shapes: Path, **changes: object) -> Recipe:
    values: dict[str, object] = {
        "name": "tinyshapes", "title": "Tiny shapes", "model": "fcn8s", "data": str(shapes), "classes": "classes.toml",
        "train_list": "train.csv", "val_list": "val.csv", "encoder_init": "none", "crop_size": 32, "scale": (32, 40),
        "model_options": {"backbone": TINY_BACKBONE, "fc_channels": 8}, "batch_size": 2, "steps": 2, "warmup_steps": 1,
        "mixed_precision": "no", "workers": 0, "short_side": 32, "long_side": 64, "eval_every": 2, "eval_images": 1,
        **changes,
    }  # fmt: skip
    return Recipe(**values)  # type: ignore[arg-type]


def test_bad_pairs_stop_a_run_before_its_first_step(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", images=30, side=48)
    *_, last = csv_pairs(tmp_path / "data" / "val.csv")
    last.image.unlink()  # a run that scores one picture would score the first
    with pytest.raises(BadPairsError, match="1 of 3 pairs cannot be used"):
        fit(tiny_recipe(tmp_path / "data"), tmp_path / "run", resume=False, command="")
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_copied_recipe_with_the_guide_s_lines_trains_on_pictures_of_ones_own(shapes: Path, tmp_path: Path) -> None:
    """The lines that train/README.md puts into a copy of fcn8s.toml; the rest only makes it small."""
    guide = (ROOT / "train" / "README.md").read_text("utf-8")
    (lines,) = [block for block in re.findall(r"```toml\n(.*?)```", guide, re.DOTALL) if "train_list" in block]
    small = {
        "data": shapes, "model_options.backbone": TINY_BACKBONE, "model_options.fc_channels": 8, "init": "",
        "encoder_init": "none", "freeze": [], "crop_size": 32, "scale": [32, 40], "batch_size": 2, "steps": 1,
        "workers": 0, "short_side": 32, "long_side": 64,
    }  # fmt: skip
    overrides = [*lines.splitlines(), *(f"{key}={value}" for key, value in small.items())]
    recipe = load_recipe(ROOT / "train" / "recipes" / "fcn8s.toml", overrides)
    card = fit(recipe, tmp_path, resume=False, command="")
    assert card is not None
    assert (card.name, card.title, card.classes) == ("pets", "Pets", SHAPES)


# Shapes


def test_shapes_depend_on_the_seed_alone(shapes: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "again", images=12, side=48)
    assert contents(tmp_path / "again") == contents(shapes)
    write_shapes(tmp_path / "more", images=13, side=48)
    picture = Path("images") / "0003.jpg"
    assert (tmp_path / "more" / picture).read_bytes() == (shapes / picture).read_bytes()
    write_shapes(tmp_path / "other", images=12, side=48, seed=1)
    assert (tmp_path / "other" / picture).read_bytes() != (shapes / picture).read_bytes()


def test_both_kinds_of_labels_say_the_same(shapes: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "colour", images=12, side=48, labels="colour")
    kinds = set()
    for ids, colours in zip(*(csv_pairs(f / "pairs.csv", SHAPES) for f in (shapes, tmp_path / "colour")), strict=True):
        with Image.open(ids.label) as one, Image.open(colours.label) as other:
            kinds.add((one.mode, other.mode))
        np.testing.assert_array_equal(ids.target(), colours.target())
    assert kinds == {("P", "RGB")}


def test_shapes_show_every_class(shapes: Path) -> None:
    present = check_pairs(csv_pairs(shapes / "pairs.csv", load_class_set(shapes / "classes.toml")))
    assert present.any(axis=0).all()
    assert present[:, 0].all(), "there is background in every picture"


def test_shapes_by_command(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    run(monkeypatch, "shapes", tmp_path / "s", "--images", 4, "--labels", "colour")
    assert "drew 4 pictures" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is not empty; choose a new folder"):
        run(monkeypatch, "shapes", tmp_path / "s")
    with pytest.raises(SystemExit, match="need at least 3 pictures, got 2"):
        run(monkeypatch, "shapes", tmp_path / "t", "--images", 2)


def test_the_tutorial_s_recipe_fits_the_drawn_set(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own network and encoder, one step on few pictures."""
    monkeypatch.chdir(ROOT)  # the recipe names a checkpoint
    few = [f"data={shapes}", "steps=1", "eval_every=1", "batch_size=2", "workers=0"]
    card = fit(load_recipe(ROOT / "train" / "recipes" / "shapes.toml", few), tmp_path, resume=False, command="")
    assert card is not None
    assert card.classes == SHAPES
    assert "the encoder of fcn8s" in card.training["encoder_init"]
    assert (tmp_path / "best" / "shapes.json").is_file()
    assert 240 % load_recipe(ROOT / "train" / "recipes" / "shapes.toml").eval_every == 0, "it scores at its end too"


# The official download


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, Path]:
    """VOC's kit and SBD as they are unpacked, with five pictures: v0, v1 train, v2 val; SBD has v1, v2, s3, s4."""
    voc, sbd = tmp_path / "VOCdevkit" / "VOC2012", tmp_path / "SBD"
    for folder in (*(voc / n for n in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")), sbd / "cls",
                   sbd / "img"):  # fmt: skip
        folder.mkdir(parents=True)
    for name in ("v0", "v1", "v2", "s3"):
        Image.new("RGB", (12, 9)).save(voc / "JPEGImages" / f"{name}.jpg")
    Image.new("RGB", (12, 9)).save(sbd / "img" / "s4.jpg")
    for name in ("v0", "v1", "v2"):
        ids = np.full((9, 12), 5, np.uint8)
        ids[0] = IGNORE_INDEX
        indexed_label(ids, VOC).save(voc / "SegmentationClass" / f"{name}.png")
    for class_id, name in enumerate(("v1", "v2", "s3", "s4"), start=10):
        ids = np.full((9, 12), class_id, np.uint8)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": ids, "CategoriesPresent": [class_id]}})
    lists = voc / "ImageSets" / "Segmentation"
    for file, names in ((lists / "train.txt", "v0 v1"), (lists / "val.txt", "v2"), (lists / "trainval.txt", "v0 v1 v2"),
                        (sbd / "train.txt", "v2 s3"), (sbd / "val.txt", "s4 v1")):  # fmt: skip
        file.write_text(names.replace(" ", "\n") + "\n")
    return voc, sbd


def test_sbd_is_added_to_voc_without_its_val_images(official: tuple[Path, Path], monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    voc, _ = official
    assert voc_pairs(voc, "val")[0].label.parent.name == "SegmentationClass", "the plain kit can be read as well"
    run(monkeypatch, "download", "--data", voc.parent.parent)  # all is there, so nothing is fetched
    assert f"data={voc}" in capsys.readouterr().out
    pairs = voc_pairs(voc, "trainaug")
    assert [pair.image.stem for pair in pairs] == ["s3", "s4", "v0", "v1"]
    present = check_pairs([*pairs, *voc_pairs(voc, "val")])
    assert [row.nonzero()[0].tolist() for row in present] == [[12], [13], [5], [5], [5]], "VOC's own labels go first"
    assert [(pair.target() == IGNORE_INDEX).any() for pair in pairs] == [False, False, True, True]


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(train.download, "VOCSegmentation", refuse)
    with pytest.raises(SystemExit, match="PASCAL VOC 2012 could not be downloaded: connection refused; try again"):
        run(monkeypatch, "download", "--data", tmp_path)


def test_torchvision_takes_the_same_sbd_labels(official: tuple[Path, Path]) -> None:
    from torchvision.datasets import SBDataset, VOCSegmentation

    voc, sbd = official
    assert len(VOCSegmentation(voc.parent.parent, image_set="trainval")) == 3, "the unpacked kit lies where it looks"
    found = SBDataset(sbd, image_set="train", mode="segmentation")
    np.testing.assert_array_equal(found._get_target(found.masks[1]), train.download.sbd_label(sbd / "cls" / "s3.mat"))


# A network of one's own


@pytest.fixture(scope="module")
def own(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, trained for two steps on the shapes."""
    folder = tmp_path_factory.mktemp("runs") / "tinyshapes"
    fit(tiny_recipe(shapes), folder, resume=False, command="python -m train fit tinyshapes.toml")
    return folder


def test_a_network_of_ones_own_is_offered_with_its_own_classes(
    own: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "tinyshapes" not in list_checkpoints()
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", os.pathsep.join([str(tmp_path / "nothing"), str(own)]))
    assert list_checkpoints()[-1] == "tinyshapes"

    predictor = load_predictor("tinyshapes")
    assert predictor.card.classes == SHAPES
    assert predictor.card.training["data"] == "shapes/train.csv, 9 images"
    assert "4 classes of 'shapes'" in predictor.card.intended_use
    result = predictor.predict(shapes / "images" / "0000.jpg")
    assert set(result.class_areas) <= set(SHAPES.names)
    assert (result.label_map.shape, result.class_set) == ((48, 48), SHAPES)

    assert seg.__main__.main(["models"]) == 0
    assert "Tiny shapes" in capsys.readouterr().out
    photo, out = shapes / "images" / "0000.jpg", tmp_path / "out"
    assert seg.__main__.main(["predict", str(photo), "--model", "tinyshapes", "--out", str(out)]) == 0
    with Image.open(out / "0000_tinyshapes_labels.png") as labels:
        assert labels.getpalette()[: 3 * len(SHAPES)] == [value for colour in SHAPES.colours for value in colour]  # type: ignore[index]
        assert np.asarray(labels).max() < len(SHAPES)


def test_the_page_s_endpoint_answers_with_a_network_of_ones_own(
    own: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg.ui.api import segment_photo

    monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(own))
    _, _, facts = segment_photo(str(shapes / "images" / "0000.jpg"), "tinyshapes")
    assert facts["class_ids"] == {name: i for i, name in enumerate(SHAPES.names)}


def test_the_page_offers_a_network_of_ones_own_with_its_own_names_and_colours(
    own: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg.ui import networks, page, segment

    monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(own))
    choosers = [block for block in page.build().blocks.values() if getattr(block, "elem_id", None) == "network"]
    assert ("Tiny shapes", "tinyshapes") in choosers[0].choices  # type: ignore[attr-defined]
    value = segment.segment(str(shapes / "images" / "0000.jpg"), "tinyshapes", "zh")
    drawn = [(c["en"], c["zh"], tuple(c["colour"])) for c in value["classes"]]
    assert drawn == list(zip(SHAPES.names, SHAPES.names_zh, SHAPES.colours, strict=True))
    assert "tinyshapes" not in networks.comparable(), "its ids mean other things"


def test_eval_scores_on_the_lists_of_the_network_s_own_recipe(
    own: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = own / "tinyshapes.json"
    before = card.read_bytes()
    run(monkeypatch, "eval", card, "--write")
    said = capsys.readouterr().out
    assert "tinyshapes on shapes/val.csv, 1 images" in said
    assert "triangle" in said
    run(monkeypatch, "eval", card, "--list", "test.csv", "--data", shapes)
    assert "tinyshapes on shapes/test.csv, 2 images" in capsys.readouterr().out
    assert load_card(card).metrics["data"] == "shapes/val.csv, 1 images"
    card.write_bytes(before)


def test_the_trainer_s_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--help")
    said = capsys.readouterr().out
    for command in ("fit", "eval", "card", "split", "shapes", "download"):
        assert f"    {command} " in said

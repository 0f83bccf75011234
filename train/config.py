"""A recipe: everything that decides a training run, read from a TOML file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seg.classes import VOC, ClassSet
from seg.transforms import MIN_SIDE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: checkpoint name, for example "fcn8s".
        title: how the page calls it.
        model: a network of `seg.models.list_models()`.
        model_options: keyword arguments of its builder.
        encoder_init: "imagenet"; the path of a checkpoint's card whose encoder is taken over; or "none".
        init: path of a checkpoint's card; every tensor with the same name and shape is taken over, encoder included.
            FCN-8s starts from FCN-16s this way, as in the paper, and a trained network learns on. "" for none. Where
            `encoder_init` names a checkpoint too, the encoder comes from that one.
        freeze: layers of the encoder that stay as they are, for example ["conv_stem", "bn1", "blocks.0", "blocks.1"] of
            EfficientNet. An encoder that knows such pictures already loses little, and a step takes a third less time.
        data: folder with the pictures: VOC2012 in the VOCdevkit layout, or one with CSV lists.
        train_list, val_list: names in ImageSets/Segmentation; or CSV files in `data`, where the name ends in .csv.
        classes: "voc", or a class file in `data`, see `load_class_set`.
        balance: 0 draws every image equally often, 1 weights an image by its rarest class; between is between.
        crop_size: side of the square training crop, pixels.
        scale: short side of the image before cropping, drawn from this range, pixels.
        brightness, contrast, saturation: strength of the colour jitter.
        cutmix: how probably a rectangle of another picture is pasted over a picture, see `train.augment.cutmix`.
        batch_size: images per step, over all processes together.
        steps: optimizer steps.
        encoder_lr, head_lr: peak learning rates.
        schedule: "poly", a linear rise over `warmup_steps` and a fall with `poly_power`; or "onecycle", which rises
            for the first 30 % of the steps and has no use for those two keys.
        optimizer: "sgd" (Nesterov) or "adamw".
        momentum, weight_decay: of the optimizer; AdamW has no momentum of this kind.
        clip_norm: gradients longer than this are shortened to it; 0 leaves them alone.
        aux_layers: modules of the network, for example "decoder.0", on whose outputs throw-away 1x1 classifiers learn
            the same labels. Long decoders learn faster with a short way from the loss to each step.
        aux_weight: how much their mean loss counts beside the network's own.
        loss_stride: the network's own loss looks at every so many pixels of both axes, a power of two up to 8. Logits
            that were only interpolated to full size say no more there than in between, and a step takes less time.
        lovasz_weight: how much the Lovász-Softmax loss counts beside the network's own cross-entropy; 0 leaves it out.
        teacher: path of a soft label file that `python -m train teach` wrote; "" learns from the labels alone.
        teacher_weight: share of the teacher's loss, 0..1; the cross-entropy with the labels has the rest.
        teacher_temperature: above 1 the teacher's less likely classes count more.
        ema_decay: of the exponential moving average of the weights, which is what gets shipped.
        mixed_precision: "bf16", "no", or "auto": bf16 where the hardware multiplies it faster, see
            `train.environment.resolve_precision`.
        eval_every: score on `eval_images` images of the val list every so many steps, and write a checkpoint; 0 never.
        save_minutes: write the resumable state this often.
        workers: processes that read and augment pictures, for each training process.
        licence: of the weights, for the card.
        short_side, long_side: size at which the trained network is used, see `seg.transforms.Preprocess`.
    """

    name: str
    title: str
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    encoder_init: str = "imagenet"
    init: str = ""
    freeze: list[str] = field(default_factory=list)
    data: str = "../shared/data/VOCdevkit/VOC2012"
    train_list: str = "trainaug"
    val_list: str = "val"
    classes: str = "voc"
    balance: float = 0.5
    crop_size: int = 256
    scale: tuple[int, int] = (176, 480)
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    cutmix: float = 0.0
    batch_size: int = 16
    steps: int = 1400
    encoder_lr: float = 6e-3
    head_lr: float = 4e-2
    schedule: str = "poly"
    poly_power: float = 0.9
    warmup_steps: int = 50
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float = 0.0
    aux_layers: list[str] = field(default_factory=list)
    aux_weight: float = 0.4
    loss_stride: int = 1
    lovasz_weight: float = 0.0
    teacher: str = ""
    teacher_weight: float = 0.5
    teacher_temperature: float = 1.0
    ema_decay: float = 0.99
    mixed_precision: str = "auto"
    eval_every: int = 200
    eval_images: int = 80
    save_minutes: float = 3.0
    workers: int = 2
    seed: int = 0
    licence: str = "not stated"
    short_side: int = 288
    long_side: int = 512

    def __post_init__(self) -> None:
        for f in fields(self):
            value, kind = getattr(self, f.name), _KINDS[str(f.type)]
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"recipe key '{f.name}' takes {f.type}, got {value!r}")
        if len(self.scale) != 2 or not MIN_SIDE <= self.scale[0] < self.scale[1]:
            raise ValueError(f"recipe key 'scale' takes two short sides, {MIN_SIDE} <= low < high, got {self.scale}")
        for key, least in (("crop_size", MIN_SIDE), ("batch_size", 2), ("steps", 1), ("workers", 0)):
            if getattr(self, key) < least:  # BatchNorm after image pooling needs two images
                raise ValueError(f"recipe key '{key}' must be at least {least}, got {getattr(self, key)}")
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                listed = ", ".join(f"{choice!r}" for choice in choices[:-1]) + f" or {choices[-1]!r}"
                raise ValueError(f"recipe key '{key}' takes {listed}, got {getattr(self, key)!r}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"recipe key 'ema_decay' takes 0 (no average) to below 1, got {self.ema_decay}")
        for key in ("cutmix", "teacher_weight"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"recipe key '{key}' takes 0 to 1, got {getattr(self, key)}")
        if not 0 < self.teacher_temperature < math.inf:
            raise ValueError(f"recipe key 'teacher_temperature' must be above 0, got {self.teacher_temperature}")
        if not 0 <= self.lovasz_weight < math.inf:
            raise ValueError(f"recipe key 'lovasz_weight' must be at least 0, got {self.lovasz_weight}")

    @cached_property
    def class_set(self) -> ClassSet:
        """The classes to learn.

        Raises:
            FileNotFoundError, ValueError: as `load_class_set`.
        """
        return VOC if self.classes == "voc" else load_class_set(Path(self.data) / self.classes)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "scale": list(self.scale)}  # as JSON gives it back

    def to_toml(self) -> str:
        """Every key, defaults included, as a file `load_recipe` reads."""
        return to_toml(self.to_dict())


_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "dict[str, Any]": dict,
    "list[str]": list,
    "tuple[int, int]": tuple,
}


_CHOICES: dict[str, tuple[str | int, ...]] = {
    "schedule": ("poly", "onecycle"),
    "optimizer": ("sgd", "adamw"),
    "loss_stride": (1, 2, 4, 8),
    "mixed_precision": ("auto", "bf16", "no"),
}


def with_backbone(recipe: Recipe, backbone: str) -> Recipe:
    """The same recipe on another timm encoder, from that one's own ImageNet weights, under a name of its own."""
    return replace(
        recipe,
        name=f"{recipe.name}_{backbone}",
        title=f"{recipe.title} ({backbone})",
        model_options=recipe.model_options | {"backbone": backbone},
        encoder_init="none" if recipe.encoder_init == "none" else "imagenet",
        init="",
        freeze=[],  # layers have other names there
    )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides (values in TOML syntax; a bare word is a string).

    `model_options.KEY=VALUE` changes one option of the network.

    Raises:
        ValueError: an unknown key or a value of the wrong kind, named.
    """
    values = _read_toml(path)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"--set takes key=value, got '{override}'")
        _put(values, key.strip(), _toml_value(text.strip()))
    known = {f.name for f in fields(Recipe)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{path}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    missing = sorted({"name", "title", "model"} - set(values))
    if missing:
        raise ValueError(f"{path}: missing key {', '.join(missing)}")
    if isinstance(values.get("scale"), list):
        values["scale"] = tuple(values["scale"])  # TOML has no tuples
    try:
        return Recipe(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_class_set(path: Path) -> ClassSet:
    """Read a class file: TOML with `name`, `names`, and if wanted `names_zh` and `colours`, one of each per class.

    The first class is the background, id 0. Colours are lists of red, green and blue, 0..255; without them the classes
    get VOC's, in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key is unknown, missing or of the wrong kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no class file {path}; set `classes` in the recipe to "voc" or to a file in `data`')
    values = _read_toml(path)
    known = {"name", "names", "names_zh", "colours"}
    wrong = [f"unknown key {key}" for key in sorted(set(values) - known)]
    wrong += [f"missing key {key}" for key in ("name", "names") if key not in values]
    wrong += [
        f"key {key} takes a list of words"
        for key in ("names", "names_zh")
        if not (isinstance(found := values.get(key, []), list) and all(isinstance(name, str) for name in found))
    ]
    if wrong:
        raise ValueError(f"{path}: {'; '.join(wrong)}; a class file has {', '.join(sorted(known))}")
    try:
        return ClassSet.from_dict({**values, "name": str(values["name"])})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    table, dot, option = key.partition(".")
    if dot:
        values[table] = values.get(table, {}) | {option: value}
    else:
        values[key] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(table: dict[str, Any]) -> str:
    """Lines `key = value` of strings, numbers, truths, lists and dictionaries of them; Python reads TOML, only."""
    return "".join(f"{_toml_text(key)} = {_toml_text(value)}\n" for key, value in table.items())


def _toml_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_text(key)} = {_toml_text(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_text, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # also inf and nan, which JSON spells otherwise
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

"""README keeps its word: front matter, results table, files, commands and the Python example."""

import itertools
import re
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import skimage
import yaml
from torch.distributed.run import get_args_parser

from seg.card import ModelCard
from seg.classes import VOC
from seg.transforms import Preprocess
from train.cards import END, START, results_table, shipped_cards, with_table
from train.config import Recipe, load_recipe
from train.state import _check_same_recipe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "checkpoints/README.md", "train/README.md"]
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in DOCUMENTS}
TEST_COMMAND = "python -m pytest"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def shell_commands(text: str) -> list[list[str]]:
    """Every simple command in the bash blocks and in inline code, split into words.

    Variables before a command are left out; `torchrun ... -m train` becomes the `python -m train` that it starts.
    """
    whole = [block.replace("\\\n", " ") for block in blocks(text, "bash")]
    lines = [line for block in whole for line in block.splitlines()] + inline_code(text)
    parts = [re.sub(r"^(\w+=\S+\s+)+", "", part.strip()) for line in lines for part in line.split("&&")]
    commands = [shlex.split(part, comments=True) for part in parts if part.startswith(("python ", "pip ", "torchrun "))]
    return [started(words) if words[0] == "torchrun" else words for words in commands]


def started(words: list[str]) -> list[str]:
    """What a torchrun command runs in each process; an option that torchrun does not have ends here."""
    found = get_args_parser().parse_args(words[1:])
    return ["python", *["-m"] * found.module, found.training_script, *found.training_script_args]


COMMANDS = {name: shell_commands(text) for name, text in TEXTS.items()}
MODULE_COMMANDS = sorted(
    {
        tuple(words[2:])
        for commands in COMMANDS.values()
        for words in commands
        if words[:2] == ["python", "-m"] and words[2] in ("seg", "train")
    }
)


# Front matter: https://huggingface.co/docs/hub/spaces-config-reference


@pytest.fixture(scope="module")
def front_matter() -> dict:
    assert README.startswith("---\n")
    return yaml.safe_load(README.split("---\n")[1])


def test_front_matter_has_what_a_space_needs(front_matter):
    assert front_matter["title"] == "SegLab"
    assert front_matter["sdk"] == "gradio"
    assert front_matter["license"] == "mit"
    assert (ROOT / front_matter["app_file"]).suffix == ".py"
    assert (ROOT / front_matter["app_file"]).is_file()
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {front_matter["colorFrom"], front_matter["colorTo"]} <= colours
    assert not re.search(r"\w", front_matter["emoji"])
    assert 0 < len(front_matter["short_description"]) <= 60
    assert front_matter["suggested_hardware"] in {"cpu-basic", "cpu-upgrade", "zero-a10g"}
    assert re.fullmatch(r"\d+[mh]", front_matter["startup_duration_timeout"])
    assert all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in front_matter["tags"])


def test_front_matter_versions_are_quoted_and_supported(front_matter):
    assert isinstance(front_matter["python_version"], str), "3.10 without quotes is the number 3.1"
    assert front_matter["python_version"] in {"3.10", "3.11", "3.12"}
    assert isinstance(front_matter["sdk_version"], str)
    assert re.search(r"^gradio\[mcp\]>=6\.31,<7\b", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert front_matter["sdk_version"] >= "6.31.0"
    assert front_matter["sdk_version"].startswith("6.")


def test_front_matter_names_nothing_that_has_to_be_downloaded(front_matter):
    assert not {"models", "datasets", "preload_from_hub"} & set(front_matter)


# Results


def test_results_table_is_what_the_cards_say():
    assert with_table(README, results_table(shipped_cards())) == README, (
        "README's results are out of date; run `python -m train card --readme README.md`"
    )


@pytest.mark.parametrize(
    "text", ["", START, f"{END}\n{START}", f"{START}\n{END}\n{START}\n{END}", f"{START}{START}{END}"]
)
def test_table_is_not_written_without_one_pair_of_markers(text):
    with pytest.raises(ValueError, match="once each"):
        with_table(text, "table")


def test_table_replaces_only_what_is_between_the_markers():
    assert with_table(f"a\n{START}\nold\n{END}\nb", "new") == f"a\n{START}\nnew\n{END}\nb"


def test_card_command_writes_the_table_and_checks_it(tmp_path, monkeypatch, capsys):
    from train.__main__ import main

    readme = tmp_path / "README.md"
    readme.write_text(f"a\n{START}\nold\n{END}\nb\n", "utf-8")
    monkeypatch.setattr(sys, "argv", ["train", "card", "--readme", str(readme), "--check"])
    with pytest.raises(SystemExit, match="out of date; run"):
        main()
    monkeypatch.setattr(sys, "argv", ["train", "card", "--readme", str(readme)])
    main()
    assert readme.read_text("utf-8") == f"a\n{START}\n{results_table(shipped_cards())}\n{END}\nb\n"
    monkeypatch.setattr(sys, "argv", ["train", "card", "--readme", str(readme), "--check"])
    main()
    monkeypatch.setattr(sys, "argv", ["train", "card"])
    main()
    assert capsys.readouterr().out.strip() == results_table(shipped_cards())


def test_table_has_one_row_per_card_and_a_dash_for_what_was_not_measured():
    card = ModelCard(
        name="tiny",
        title="Tiny",
        model="fcn8s",
        model_options={},
        classes=VOC,
        preprocess=Preprocess(),
        weights={"bytes": 12_340_000},
        parameters=4_560_000,
        macs=7_890_000_000,
        macs_input=(384, 512),
        licence="MIT",
    )
    scored = replace(card, name="scored", metrics={"miou": 0.61239, "pixel_acc": 0.9, "data": "somewhere"})
    heading, line, *rows = results_table([card, scored]).splitlines()
    assert heading.count("|") == line.count("|") == rows[0].count("|")
    assert rows == [
        "| Tiny | `tiny` | - | - | 4.6 M | 7.9 G at 512 x 384 | 12.3 MB | - |",
        "| Tiny | `scored` | 0.612 | 0.900 | 4.6 M | 7.9 G at 512 x 384 | 12.3 MB | somewhere |",
    ]


# Files


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", TEXTS[document])
    relative = [target for target in targets if not target.startswith(("http:", "https:", "#"))]
    folder = (ROOT / document).parent
    missing = [target for target in relative if not (folder / target.partition("#")[0]).exists()]
    assert not missing, f"{document} links to {', '.join(missing)}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_anchors_lead_to_headings(document):
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", TEXTS[document], re.MULTILINE)
    }
    anchors = re.findall(r"\]\(#([^)]+)\)", TEXTS[document])
    assert set(anchors) <= headings


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document):
    """Paths in inline code and in commands; `runs/`, `data/` and `NAME` are the reader's own."""
    looks_like_path = re.compile(r"[\w.-]+/[\w./-]*|[\w-]+\.(py|md|toml|txt)")
    words = inline_code(TEXTS[document]) + [word for command in COMMANDS[document] for word in command]
    paths = {word for word in words if looks_like_path.fullmatch(word) and "NAME" not in word}
    own = {path for path in paths if path.startswith(("runs/", "data/"))}
    missing = sorted(path for path in paths - own if not (ROOT / path).exists())
    assert not missing, f"{document} names {', '.join(missing)}"


# Commands


def test_the_two_commands_stand_there_word_for_word():
    lines = [line for block in blocks(README, "bash") for line in block.splitlines()]
    assert "pip install -r requirements.txt && python app.py" in lines
    assert f"pip install -r requirements-dev.txt && {TEST_COMMAND}" in lines


def test_ci_runs_the_same_commands():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(rf"^step .* {TEST_COMMAND}$", script, re.MULTILINE)
    assert "pip install -q --disable-pip-version-check -r requirements-dev.txt" in script
    assert "SEGLAB_REQUIRE_BROWSER=1" in script


@pytest.mark.parametrize("words", MODULE_COMMANDS, ids=" ".join)
def test_module_commands_parse(words, monkeypatch, capsys):
    """The subcommand exists, and so does every option that a document gives it."""
    module, subcommand, *arguments = words
    monkeypatch.setattr(sys, "argv", [f"python -m {module}", subcommand, "--help"])
    monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_module(module, run_name="__main__")
    assert exit_info.value.code in (0, None)
    offered = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
    options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    assert set(options) <= offered


def test_readme_names_every_subcommand_once_at_least():
    named = {words[:2] for words in MODULE_COMMANDS}
    assert {("seg", "models"), ("seg", "predict"), ("seg", "bench")} <= named
    assert {("train", "fit"), ("train", "eval"), ("train", "card")} <= named


def test_commands_behind_variables_and_torchrun_are_found():
    text = "```bash\nA=1 B=x python -m train card\n```\n`torchrun --nproc-per-node 4 -m train fit r.toml --resume`"
    assert shell_commands(text) == [
        ["python", "-m", "train", "card"],
        ["python", "-m", "train", "fit", "r.toml", "--resume"],
    ]
    with pytest.raises(SystemExit):
        shell_commands("`torchrun --processes 4 -m train fit r.toml`")
    assert ("train", "fit", "train/recipes/fcn8s.toml", "--folder", "/shared/runs/fcn8s") in MODULE_COMMANDS


def set_up(command: list[str]) -> Recipe:
    """The recipe of a `python -m train fit RECIPE --set ...`."""
    sets = [value for option, value in itertools.pairwise(command) if option == "--set"]
    return load_recipe(ROOT / command[4], sets)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_fit_has_a_recipe_that_takes_its_keys(document):
    fits = [words for words in COMMANDS[document] if words[1:4] == ["-m", "train", "fit"]]
    for words in fits:
        if (ROOT / words[4]).is_file():
            set_up(words)


def test_the_readme_resumes_the_run_that_it_starts():
    fits = [words for words in COMMANDS["README.md"] if words[1:4] == ["-m", "train", "fit"]]
    (start,) = [words for words in fits if "--resume" not in words]
    (resumed,) = [words for words in fits if "--resume" in words]
    assert start[4] == resumed[4]
    _check_same_recipe(Path("state.pt"), before=set_up(start).to_dict(), now=set_up(resumed).to_dict())
    assert set_up(start).data == set_up(resumed).data, "data may change, but a reader's does not"


def test_python_example_does_what_its_comments_say():
    (example,) = [block for block in blocks(README, "python") if "load_predictor" in block]
    cat = Path(skimage.__file__).parent / "data" / "chelsea.png"
    names: dict = {}
    exec(example.replace('"photo.jpg"', repr(str(cat))), names)
    result = names["result"]
    assert result.label_map.shape == result.confidence.shape == (300, 451)
    assert set(result.class_areas) >= {"background", "cat"}
    assert names["predictor"].card.metrics["miou"] > 0

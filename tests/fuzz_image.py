"""A fuzz target for every reader of uploads, with the invariant of `test_attack.py`.

With Atheris (pip install atheris; not needed for anything else), guided by what the readers' Python code does:

    python tests/fuzz_image.py -max_total_time=120 -timeout=10 -rss_limit_mb=2000 CORPUS

Without it, or with --replay, every file of the folders and files named is read once. A folder CORPUS that is missing or
empty gets the small sound files of `odd_files.py` to start from. Files that break the promise are written by Atheris
beside you as crash-..., and here end the program with their name.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    import atheris
except ImportError:
    atheris = None

if atheris and "--replay" not in sys.argv:
    with atheris.instrument_imports(include=["seg.image", "seg.labels", "seg.ui.sheet", "PIL"]):
        import odd_files
else:
    import odd_files


def read_everything(data: bytes) -> None:
    """One file through all readers; anything but a picture, a sheet or a refusal escapes."""
    odd_files.check(data)
    odd_files.check_sheet(data)
    odd_files.check(odd_files.png(40, 24, extra=odd_files.chunk(b"eXIf", data)))
    odd_files.check_sheet(odd_files.sheet({"settings.json": data}))


def main(arguments: list[str]) -> None:
    """Fuzz, or read what is named."""
    warnings.simplefilter("ignore")  # Pillow warns of odd metadata
    paths = [Path(argument) for argument in arguments[1:] if not argument.startswith("-")]
    if len(paths) == 1 and not paths[0].is_file():
        plant(paths[0])
    if atheris and "--replay" not in arguments:
        atheris.Setup(arguments, read_everything)
        atheris.Fuzz()
        return
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    for file in files:
        print(file, flush=True)  # first: a crash inside a decoder would say nothing
        read_everything(file.read_bytes())
    print(f"{len(files)} files read or refused")


def plant(folder: Path) -> None:
    """Sound files in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for name, data in {**odd_files.valid(), "sheet": odd_files.sheet()}.items():
            (folder / name.replace(" ", "_")).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv)

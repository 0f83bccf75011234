"""What a run runs on: machine, versions, commit; and the precision this machine computes fastest in."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from pathlib import Path
from typing import Any

import accelerate
import timm
import torch
import torchvision

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # numbers of glibc's malloc.h


def resolve_precision(wanted: str) -> str:
    """ "auto" -> "bf16" or "no"; other values stay.

    bf16 needs hardware that multiplies matrices of it: a CUDA GPU since Ampere, or a processor with AMX, where it
    doubled the speed. On a processor that has bf16 instructions (AVX-512) but no AMX it cost more than it brought:
    U-Net learned 5.6 images/s with it and 6.1 without.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if _has_amx() else "no"


def _has_amx() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("amx_tile", False))
    return torch.cpu._is_amx_tile_supported()  # the oldest torch we support has no public question for it


def keep_freed_memory() -> None:
    """Let this process, and those it starts by fork, keep the memory that freed tensors leave, on glibc.

    As it comes, malloc gives every large block back to the system when it is freed; the next step gets it anew and the
    system has to fill it with zeros, page by page, before it can be written. Elsewhere this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)):
        libc.mallopt(option, value)


def environment(device: torch.device, *, processes: int, mixed_precision: str) -> dict[str, Any]:
    """Versions and machine as plain strings and numbers, for a card or a TOML file."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "accelerate": accelerate.__version__,
        "system": platform.system(),
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes,
        "mixed_precision": mixed_precision,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []  # not Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str:
    """The commit of the working tree, "-dirty" if it was changed since; "unknown" outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, timeout=10
        )
        return answer.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"

"""What a run was made with: versions, machine, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from typing import Any

from persongen_lib.core.paths import IN_REPOSITORY, ROOT

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "open_clip_torch", "numpy", "pillow", "safetensors",
)  # fmt: skip


@functools.cache
def provenance() -> dict[str, Any]:
    """Versions of Python and of the packages that decide numbers, the machine, and the git commit."""
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    if not IN_REPOSITORY:
        return None
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

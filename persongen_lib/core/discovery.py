"""Importing every module of a package, so that a new file is all that a strategy, method, metric or family needs."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil


def discover(package: str) -> None:
    """Import the modules of a package; its folders are listed again only after they changed."""
    folders = importlib.import_module(package).__path__
    _import_all(package, tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders))


@functools.lru_cache(maxsize=32)
def _import_all(package: str, folders: tuple[tuple[str, int], ...]) -> None:
    for module in pkgutil.iter_modules([folder for folder, _ in folders]):
        importlib.import_module(f"{package}.{module.name}")

"""What a study will need on the disk, said before it runs."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from persongen_lib.backbones.sizes import image_side
from persongen_lib.backbones.sources import locate
from persongen_lib.core.errors import UserError
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store, read_spec
from persongen_lib.study.grid import Study
from persongen_lib.study.scores import find_scores

TILE_PIXELS = 256 * 256
PNG, SHEET = 2.0, 0.6
"""Bytes per pixel of an image in its own file and on a contact sheet, slightly above the measured values."""


@dataclass(frozen=True)
class Need:
    """What a study still needs.

    Args:
        cells: The number of cells to do.
        pictures: The number of their pictures.
        picture_bytes: The bytes of these pictures.
        fine_tunings: The number of fine-tunings to do.
        adapter_bytes: The bytes of their adapters; None where no adapter of the kind is there to go by.
        free: The bytes that are free on the disk.
    """

    cells: int
    pictures: int
    picture_bytes: int
    fine_tunings: int
    adapter_bytes: int | None
    free: int

    def __str__(self) -> str:
        adapters = "an unknown amount" if self.adapter_bytes is None else _readable(self.adapter_bytes)
        return (
            f"{self.cells} cells to do: about {_readable(self.picture_bytes)} for {self.pictures} pictures, "
            f"{adapters} for {self.fine_tunings} fine-tunings; {_readable(self.free)} are free"
        )


def disk_need(study: Study, runs: str | Path = "runs", keep_pictures: bool = False) -> Need:
    """What the unfinished cells of a study will need.

    Adapters are taken to be as large as one of the same backbone and method that `runs` holds.

    Args:
        study: The study.
        runs: The folder of finished work.
        keep_pictures: Whether pictures stay as files, see `run_cell`.

    Raises:
        UserError: The disk has less.
    """
    store, chosen = Store(runs), {}
    jobs = [job for job in study.jobs if not find_scores(job, store, chosen)]
    pictures = {job.sample.hash: job.sample for job in jobs}.values()
    counts = [len(spec.prompts) * len(spec.seeds) for spec in pictures]
    sizes = [_picture_bytes(spec.backbone, keep_pictures) for spec in pictures]
    tunings = {job.fine_tune.hash: job.fine_tune for job in jobs}.values()
    missing = [spec for spec in tunings if store.find("finetune", spec) is None]
    known = _adapter_sizes(store) if missing else {}
    adapters = [known.get((spec.backbone, spec.method)) for spec in missing]
    place = next(path for path in (store.root.resolve(), *store.root.resolve().parents) if path.exists())
    need = Need(
        cells=len(jobs),
        pictures=sum(counts),
        picture_bytes=round(sum(count * size for count, size in zip(counts, sizes, strict=True))),
        fine_tunings=len(missing),
        adapter_bytes=None if None in adapters else sum(adapters),
        free=shutil.disk_usage(place).free,
    )
    if need.picture_bytes + (need.adapter_bytes or 0) > need.free:
        raise UserError(
            f"the disk is too small for the study {study.name}: {need}; make room, or take --shard"
        )
    return need


def _picture_bytes(backbone: str, keep_pictures: bool) -> float:
    pixels = image_side(locate(backbone)) ** 2
    return PNG * pixels if keep_pictures else SHEET * min(pixels, TILE_PIXELS)


def _adapter_sizes(store: Store) -> dict[tuple[str, str], int]:
    """Bytes of the largest fine-tuning's folder, by backbone and method."""
    sizes: dict[tuple[str, str], int] = {}
    for folder in store.finished("finetune"):
        with suppress(UserError):  # a damaged one is made again
            spec = read_spec(folder, FineTuneSpec)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            key = spec.backbone, spec.method
            sizes[key] = max(size, sizes.get(key, 0))
    return sizes


def _readable(size: int) -> str:
    """In MB, or in GB from 1 GB on, to two digits or the unit."""
    value, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{value:.{0 if value >= 10 else 1}f} {unit}"

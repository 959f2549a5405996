"""Where work is kept and what computes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.store import Store

DTYPES = ("fp32", "bf16", "fp16")
"""The number types that networks compute in."""


@dataclass(frozen=True)
class Runtime:
    """The store of finished work, the device, and the number type of the networks.

    Args:
        store: where finished work is kept.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: "fp32", "bf16" or "fp16"; None for the usual one of the device.

    Raises:
        UserError: no store, or an unknown dtype.
    """

    store: Store
    device: str = "auto"
    dtype: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.store, Store):
            raise UserError(
                f"a runtime needs a Store, not {self.store!r}: write Runtime.at(folder) for a folder"
            )
        check_alone()
        if self.dtype is not None:
            check_known("dtype", [self.dtype], DTYPES)

    @classmethod
    def at(cls, runs: str | Path = "runs", device: str = "auto", dtype: str | None = None) -> Self:
        """The runtime of a runs folder.

        Args:
            runs: the folder of the store; it need not exist yet.
            device: "auto", "cpu", "cuda", "cuda:1" ...
            dtype: "fp32", "bf16" or "fp16"; None for the usual one of the device.

        Raises:
            UserError: `runs` is a file, or this is one of several launched processes.
        """
        return cls(Store(runs), device, dtype)


def check_alone() -> None:
    """Raise a UserError in one of several processes that were launched together: they would wait for each other."""
    launched = os.environ.get("WORLD_SIZE", "1").strip()
    if launched not in ("", "0", "1"):
        raise UserError(
            f"torchrun or accelerate launch started {launched} processes (WORLD_SIZE), and one is needed: start it "
            "with python alone; for several GPUs use persongen study run with --engine ray or --shard k/N"
        )


def check_runtime(runtime: object) -> None:
    """Raise a UserError for what is no `Runtime`, such as the name of a folder."""
    if not isinstance(runtime, Runtime):
        raise UserError(f"give a Runtime such as Runtime.at('runs'), not {runtime!r}")

"""Devices and number types by their names."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from contextlib import suppress

from persongen_lib.core import runtime
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

DTYPES = dict(zip(runtime.DTYPES, ("float32", "bfloat16", "float16"), strict=True))
"""torch's names of the number types that networks compute in."""


def resolve_device(device: str) -> torch.device:
    """The device of a name such as "auto", "cpu", "cuda" or "cuda:1"; UserError when it can't be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = "give auto or cpu, or cuda where there is one"
    try:
        torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise UserError(f"the device {device!r} is not known: {known}") from None
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")
        raise UserError(f"the device {device!r} can't be used ({reason}): {known}") from None
    if found.type == "meta":
        raise UserError(f"the device {device!r} can't be used (it has no memory): {known}")
    return found


def device_type(device: str = "auto") -> str:
    """The type, such as "cpu" or "cuda", of a device, which need not be there, so that others' runs are found.

    torch is imported only where it has to be asked.
    """
    if device == "cpu" or (device == "auto" and not _has_driver()):
        return "cpu"
    with suppress(RuntimeError):
        if device != "auto" and (named := torch.device(device)).type != "meta":
            return named.type
    return resolve_device(device).type


def usual_dtype(kind: str, half: str) -> str:
    """How devices of a type usually sample: in fp32 on a CPU, elsewhere in the model's 16-bit number type."""
    return "fp32" if kind == "cpu" else half


def dtype_named(name: str) -> torch.dtype:
    """The number type of a name; UserError for one that is not known."""
    check_known("dtype", [name], DTYPES)
    return getattr(torch, DTYPES[name])


def dtype_name(dtype: torch.dtype) -> str:
    """The name in `DTYPES`, or else torch's."""
    own = str(dtype).removeprefix("torch.")
    return next((name for name, known in DTYPES.items() if known == own), own)


@functools.cache
def _has_driver() -> bool:
    """Whether a GPU's driver is on this machine; without one torch finds no GPU."""
    if sys.platform == "win32":
        return True
    with suppress(OSError):
        return bool(ctypes.CDLL("libcuda.so.1"))
    return any(map(os.path.exists, ("/dev/kfd", "/dev/dxg")))  # AMD's, and that of Windows below Linux

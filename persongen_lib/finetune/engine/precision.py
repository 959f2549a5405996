"""The arithmetic of a fine-tuning: precision and reports, through accelerate."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.finetune.engine.method import Method

if TYPE_CHECKING:
    from accelerate import Accelerator

REPORTS = ("tensorboard", "wandb")
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def usual_precision(kind: str) -> str:
    """How devices of a type usually train: in fp32 on a CPU, in bf16 elsewhere."""
    return "fp32" if kind == "cpu" else "bf16"


def frozen_precision(method: Method, precision: str) -> str:
    """The number type of the weights that a method does not train, given that of the arithmetic.

    Raises:
        UserError: If the method names one that is neither float32 nor that of the arithmetic.
    """
    if method.frozen_dtype == "auto":
        return precision if method.leaves_model else "fp32"
    if method.frozen_dtype not in ("fp32", precision):
        raise UserError(
            f"frozen_dtype {method.frozen_dtype} does not go with training in {precision}: give fp32, or "
            f"--dtype {method.frozen_dtype} as well"
        )
    return method.frozen_dtype


def check_arithmetic(device: torch.device, precision: str, report: str | None) -> None:
    """Raise a UserError for what `make_accelerator` can't do, before anything is loaded.

    Args:
        device: Where the training runs.
        precision: One of `PRECISIONS`; fp16 on a GPU alone.
        report: One of `REPORTS`, whose package must be installed, or None.
    """
    check_known("dtype", [precision], PRECISIONS)
    if precision == "fp16" and device.type == "cpu":
        raise UserError("fine-tuning in fp16 needs a GPU: on a CPU take fp32 or bf16")
    if report is None:
        return
    check_known("report", [report], REPORTS)
    if importlib.util.find_spec(report) is None:
        raise UserError(f"reporting to {report} needs its package: pip install {report}, or leave it out")


def make_accelerator(device: torch.device, precision: str, report: str | None, folder: Path) -> Accelerator:
    """An accelerator for a device and a precision, with a tracker if a report is asked for.

    Args:
        device: Where the training runs.
        precision: As `check_arithmetic` allows.
        report: As `check_arithmetic` allows.
        folder: Where the report is written.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        mixed_precision=PRECISIONS[precision], cpu=device.type == "cpu", device_placement=False, log_with=report,
        project_dir=folder,
    )  # fmt: skip
    if report is not None:
        accelerator.init_trackers("training")
    return accelerator

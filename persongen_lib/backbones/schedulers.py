"""The schedulers of diffusers that sampling offers, by short names, made for a model's own noise levels."""

from __future__ import annotations

import copy
from typing import Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "variance_type": None}),
    "dpm++-sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "variance_type": None},
    ),
    "dpm++-2s": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++", "variance_type": None}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
}
FLOWS = ("flow-euler",)
"""Those of flow-matching models; the others are of models that keep the variance."""
FIRST_ORDER = ("ddim", "euler", "flow-euler")
"""Those whose next latents are a mixture of the clean latents and the noise: they can put other noise back."""
STOCHASTIC = ("dpm++-sde", "euler-a")
"""Those that add fresh noise at every step."""
UNSCALED = ("lms", "euler", "euler-a")
"""Those whose latents are `x0 + sigma eps` inside."""
KARRAS = "-karras"
"""The end of the name of a scheduler with the spacing of Karras et al., arXiv 2206.00364."""
_SPACED = ("dpm++", "dpm++-sde", "dpm++-2s", "unipc", "deis", "lms", "euler")
SCHEDULERS = (*_CLASSES, *(f"{name}{KARRAS}" for name in _SPACED))
_OTHER_SPACINGS = ("use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")


def scheduler_name(name: Any) -> str:
    """One of `SCHEDULERS` for its name or another writing of it, such as "DPM++ 2M Karras" or "euler_a".

    The name of diffusers' class serves too. Schedulers that ask the network twice per step (Heun, KDPM2) or a
    further time (PNDM) are not offered: a step is one prediction per branch.
    """
    written = str(name).strip()
    plain = written.lower().replace(" ", "-").replace("_", "-").replace("2m-", "").removesuffix("-2m")
    classes = {class_name: short for short, (class_name, _) in reversed(_CLASSES.items())}
    found = classes.get(written, plain)
    check_known("scheduler", [found if found in SCHEDULERS else name], SCHEDULERS)
    return found


def base_name(name: str) -> str:
    """The scheduler's name without its spacing."""
    return name.removesuffix(KARRAS)


def make_scheduler(own: Any, name: str) -> Any:
    """A scheduler of diffusers with a model's noise levels and settings, spacing among them.

    A model's own scheduler of the same class is copied, for its pipeline may have corrected it.

    Args:
        own: the model's scheduler, a diffusers one.
        name: one of `SCHEDULERS`.

    Raises:
        UserError: a scheduler that can't have the model's noise levels.
    """
    import diffusers
    import torch

    class_name, fixed = _CLASSES[base_name(name)]
    scheduler_class = getattr(diffusers, class_name)
    respaced = name.endswith(KARRAS) and not own.config.get("use_karras_sigmas")
    if isinstance(own, scheduler_class) and not respaced:
        scheduler = copy.deepcopy(own)
    else:
        spacing = {"use_karras_sigmas": True, **dict.fromkeys(_OTHER_SPACINGS, False)} if respaced else {}
        scheduler = scheduler_class.from_config(own.config, **fixed, **spacing)
    if name in FLOWS:
        return scheduler
    scheduler.register_to_config(prediction_type="epsilon", **fixed)
    if not torch.allclose(scheduler.alphas_cumprod, own.alphas_cumprod, atol=1e-6):
        raise UserError(
            f"{name} can't take this model's noise levels (rescale_betas_zero_snr): give dpm++ or euler"
        )
    return scheduler

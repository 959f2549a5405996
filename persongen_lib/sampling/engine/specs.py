"""What a sample run is: its strategy, its prompts and seeds, and the model that is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from persongen_lib.backbones.defaults import sampling_defaults, sampling_dtype
from persongen_lib.backbones.devices import device_type
from persongen_lib.backbones.schedulers import SCHEDULERS, scheduler_name
from persongen_lib.backbones.sizes import check_sides
from persongen_lib.backbones.sources import weights_digest
from persongen_lib.core.checks import (
    check_once,
    check_steps,
    check_template,
    check_without,
    check_words,
    parse_seeds,
)
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec, Spec, checked_loading
from persongen_lib.sampling.engine.options import OPTIONS, checked_options
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, make_strategy


@dataclass(frozen=True)
class SampleSpec(Spec):
    """Images of one strategy: every template in `prompts` with every seed.

    `sample_spec` fills it in. In a file the strategy stands as its name, `strategy`, and its `parameters`.

    Attributes:
        fine_tune: the fine-tuning that is sampled; None samples the backbone as it is.
        backbone: the model: a short name, a folder or a hub id.
        strategy: a resolved one.
        token: the placeholder, "sks".
        class_name: the class word, "dog".
        prompts: templates with one `{}` for the concept, at least one.
        seeds: distinct whole numbers from 0 to 2**63 - 1.
        num_steps: from 1 to 1000.
        scheduler: one of `SCHEDULERS`.
        weights: what the model's weights are known by (`weights_digest`).
        dtype: of the networks: "fp32", "bf16" or "fp16".
        adapter: the digest of the adapters' files and scales where they come from elsewhere than the store, else "".
        height: of the images in pixels; None for the model's own.
        width: of the images in pixels; None for the model's own.
        negative_prompt: what guidance leads away from.
        clip_skip: see `sample`; None for the model's usual layer.
        guidance_rescale: from 0 to 1, the share of rescaled guidance.
        loading: what the model is loaded with beside its name, by the names of `LOADING`.
        vae_tiling: whether large images are decoded in tiles.

    Raises:
        UserError: a value that is not allowed, or a strategy that can't be run with these steps or this scheduler.
    """

    fine_tune: FineTuneSpec | None
    backbone: str
    strategy: Strategy
    token: str
    class_name: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    num_steps: int
    scheduler: str
    weights: str = ""
    dtype: str = ""
    adapter: str = ""
    height: int | None = None
    width: int | None = None
    negative_prompt: str = ""
    clip_skip: int | None = None
    guidance_rescale: float = 0.0
    loading: dict[str, Any] = field(default_factory=dict)
    vae_tiling: bool = False

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts)
        if not prompts:
            raise UserError(
                "no prompts given: give at least one template such as 'a photo of a {} in the snow'"
            )
        check_once("prompt", [" ".join(check_template(prompt).split()) for prompt in prompts])
        object.__setattr__(self, "prompts", prompts)
        object.__setattr__(self, "seeds", parse_seeds(self.seeds))
        object.__setattr__(self, "num_steps", check_steps(self.num_steps))
        object.__setattr__(self, "scheduler", scheduler_name(self.scheduler))
        if not isinstance(self.vae_tiling, bool):
            raise UserError(f"vae_tiling must be True or False, not {self.vae_tiling!r}")
        object.__setattr__(self, "loading", checked_loading(self.loading))
        for name, value in checked_options(**{name: getattr(self, name) for name in OPTIONS}).items():
            object.__setattr__(self, name, value)
        for name, value in self.parameters.items():
            if value != getattr(self.strategy, name):
                raise UserError(
                    f"{name} of {self.strategy.name} is {value!r}, which depends on the model and the steps: "
                    "give a number, or let sample_spec fill it in"
                )
        self.strategy.check_run(self.num_steps, self.scheduler)
        for name in ("class_name", "token"):
            check_words(name, getattr(self, name))
        for prompt in self.prompts:
            check_without(self.token, prompt)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter of the strategy."""
        return self.strategy.parameters()

    @property
    def options(self) -> dict[str, Any]:
        """What the run asks of `sample` beside the usual, by name: those of `OPTIONS` that are not left out."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value != getattr(type(self), name)}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the strategy as its name and its parameters, and no options that are left out."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in OPTIONS}
        values.update(self.options)
        for name in ("loading", "vae_tiling"):
            if not values[name]:
                del values[name]
        values["fine_tune"] = self.fine_tune and self.fine_tune.to_dict()
        values["strategy"], values["parameters"] = self.strategy.name, self.parameters
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that `to_dict` gave; an unknown or a missing key is a UserError."""
        values = dict(values) if isinstance(values, Mapping) else values
        if isinstance(values, dict) and isinstance(values.get("strategy"), str):
            parameters = values.pop("parameters", {})
            if not isinstance(parameters, Mapping):
                raise UserError(
                    f"parameters of {values['strategy']} are names with values, not {parameters!r}"
                )
            values["strategy"] = STRATEGIES.make(values["strategy"], **parameters)
        if isinstance(values, dict) and isinstance(values.get("fine_tune"), Mapping):
            values["fine_tune"] = FineTuneSpec.from_dict(values["fine_tune"])
        return super().from_dict(values)


def sample_spec(
    strategy: str,
    prompts: Sequence[str],
    seeds: str | int | Sequence[int],
    num_steps: int | None = None,
    fine_tune: FineTuneSpec | None = None,
    backbone: str | None = None,
    class_name: str | None = None,
    token: str = "sks",
    scheduler: str | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    clip_skip: int | None = None,
    guidance_rescale: float = 0.0,
    loading: Mapping[str, Any] | None = None,
    vae_tiling: bool = False,
    **parameters: Any,
) -> SampleSpec:
    """The spec of a sample run, with every parameter of the strategy filled in and checked.

    With `fine_tune` the backbone, class name and token are its own; without, give `class_name`. The dtype is what is
    usual on this machine; what samples with another one samples another run (`computed_by`).

    Args:
        strategy: one of `list_strategies`.
        prompts: templates with one `{}` for the concept.
        seeds: such as "0-3", 0 or [0, 1]; one image per seed and template.
        num_steps: from 1 to 1000; None for the model's usual number (`sampling_defaults`).
        fine_tune: the fine-tuning that is sampled; None samples the backbone as it is.
        backbone: a short name, a folder or a hub id; None for "micro".
        class_name: the class word, "dog".
        token: the placeholder, "sks".
        scheduler: one of `SCHEDULERS`, or the name of diffusers' class; None for the model's usual one.
        height: of the images in pixels; None for the model's own.
        width: of the images in pixels; None for the model's own.
        negative_prompt: what guidance leads away from.
        clip_skip: see `sample`; None for the model's usual layer.
        guidance_rescale: from 0 to 1, the share of rescaled guidance.
        loading: `original`, `variant`, `vae` and `guidance` of `load_backbone`; of a fine-tuning its own.
        vae_tiling: as in `load_backbone`.
        parameters: of the strategy; those that are not given are the model's usual ones.

    Raises:
        UserError: no class name, or a wrong value.
    """
    if fine_tune is not None:
        backbone, class_name, token = fine_tune.backbone, fine_tune.class_name, fine_tune.token
        loading = fine_tune.loading
    if not isinstance(prompts, str | list | tuple):
        raise UserError(f"prompts are templates such as 'a photo of {{}}', not {prompts!r}")
    if class_name is None:
        raise UserError("give class_name, a word such as 'dog', or a fine-tuning")
    backbone = backbone or "micro"
    loading = checked_loading(loading)
    usual = sampling_defaults(backbone)
    num_steps = usual["num_steps"] if num_steps is None else check_steps(num_steps)
    made = default_strategy(strategy, usual, num_steps, **parameters)
    spec = SampleSpec(
        fine_tune=fine_tune,
        backbone=backbone,
        strategy=made,
        token=token,
        class_name=class_name,
        prompts=tuple([prompts] if isinstance(prompts, str) else prompts),
        seeds=parse_seeds(seeds),
        num_steps=num_steps,
        scheduler=usual_scheduler(made, usual) if scheduler is None else scheduler,
        weights=fine_tune.weights if fine_tune else weights_digest(backbone, **loading),
        dtype=sampling_dtype(backbone, device_type()),
        height=height,
        width=width,
        negative_prompt=negative_prompt,
        clip_skip=clip_skip,
        guidance_rescale=guidance_rescale,
        loading=loading,
        vae_tiling=vae_tiling,
    )
    check_sides(backbone, height=spec.height, width=spec.width)
    return spec


def computed_by(spec: SampleSpec, runtime: Runtime) -> SampleSpec:
    """The run that a runtime makes of a spec: its dtype is the runtime's, or what is usual on its device.

    The device need not be there, so that runs of another machine are found.
    """
    dtype = runtime.dtype or sampling_dtype(spec.backbone, device_type(runtime.device))
    return spec if spec.dtype == dtype else replace(spec, dtype=dtype)


def default_strategy(
    name: str, usual: Mapping[str, Any], num_steps: int | None = None, **parameters: Any
) -> Strategy:
    """A strategy with the numbers that are usual for a model.

    Args:
        name: one of `list_strategies`.
        usual: the model's `sampling_defaults`.
        num_steps: the run's steps, by default the model's.
        parameters: values in the place of the defaults.
    """
    made = make_strategy(name, **{**usual["strategies"].get(STRATEGIES[name].name, {}), **parameters})
    return made.resolved(usual["guidance_scale"], usual["num_steps"] if num_steps is None else num_steps)


def usual_scheduler(strategy: Strategy, usual: Mapping[str, Any]) -> str:
    """The model's solver (`sampling_defaults`), or else the first that the strategy works with."""
    allowed = strategy.schedulers or SCHEDULERS
    return usual["scheduler"] if usual["scheduler"] in allowed else allowed[0]

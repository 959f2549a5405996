"""Noise levels, x = signal x0 + noise eps, and what networks predict of them: the one place of every conversion.

Variance-preserving families (Stable Diffusion, SDXL, PixArt-alpha) have signal^2 + noise^2 = 1, flow-matching ones
(Stable Diffusion 3, FLUX) signal + noise = 1. Predictions of the first are converted to eps, those of the second
stay velocities, eps - x0, which are defined at pure noise too. Guidance is linear and the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["epsilon", "velocity"]
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "velocity")
PRESERVING = (
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler", "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler", "PNDMScheduler",
    "SASolverScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Schedulers of diffusers whose noise levels are their cumulative alphas."""
FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
_UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "timestep_spacing": (None, "leading", "linspace", "trailing"),
    "timestep_type": (None, "discrete"),
    "thresholding": (None, False),
    "clip_sample": (None, False),
    "use_flow_sigmas": (None, False),
    "invert_sigmas": (None, False),
    "stochastic_sampling": (None, False),
}
"""Values of a scheduler's settings that are honored; others are refused."""
_UNDERSTOOD_BY_PRESERVING = {**_UNDERSTOOD, "use_dynamic_shifting": (None, False)}
_ALMOST_NO_SIGNAL = 1e-6


@dataclass(frozen=True)
class Level:
    """Latents at this level are `signal` x0 + `noise` eps; both numbers, or tensors that broadcast over latents."""

    signal: Any
    noise: Any

    @property
    def alpha(self) -> Any:
        """The cumulative alpha, signal^2, of these latents scaled to keep the variance."""
        return self.signal**2 / (self.signal**2 + self.noise**2)

    def clean(self, prediction: Tensor, latents: Tensor, kind: Kind) -> Tensor:
        """The clean latents x0 that a prediction of this kind implies.

        Args:
            prediction: (rows, C, H, W).
            latents: those that the prediction was made for, at this level.
            kind: "epsilon", or "velocity" for eps - x0.
        """
        if kind == "velocity":
            return (latents - self.noise * prediction) / (self.signal + self.noise)
        return (latents - self.noise * prediction) / self.signal

    def epsilon(self, prediction: Tensor, latents: Tensor, kind: Kind) -> Tensor:
        """The noise eps that a prediction of this kind implies.

        Args:
            prediction: (rows, C, H, W).
            latents: those that the prediction was made for, at this level.
            kind: "epsilon", or "velocity" for eps - x0.
        """
        if kind == "velocity":
            return prediction + self.clean(prediction, latents, kind)
        return prediction

    def of_clean(self, clean: Tensor, latents: Tensor, kind: Kind) -> Tensor:
        """The prediction of this kind that implies these clean latents, the inverse of `clean`.

        Args:
            clean: (rows, C, H, W).
            latents: those that the prediction would be made for, at this level.
            kind: "epsilon", or "velocity" for eps - x0.
        """
        scale = self.signal + self.noise if kind == "velocity" else self.signal
        return (latents - scale * clean) / self.noise

    def mix(self, clean: Tensor, epsilon: Tensor) -> Tensor:
        """The latents signal x0 + noise eps."""
        return self.signal * clean + self.noise * epsilon


@dataclass(frozen=True)
class NoiseModel:
    """What a network predicts, and its noise levels by training timestep.

    Attributes:
        prediction_type: one of `PREDICTION_TYPES`, what the network puts out.
        num_timesteps: how many training timesteps there are.
        alphas: cumulative alphas, the square of the signal, (num_timesteps,); None for flow matching, where the noise
            is t / num_timesteps.
    """

    prediction_type: str
    num_timesteps: int
    alphas: Tensor | None = None

    @classmethod
    def of(cls, scheduler: Any) -> NoiseModel:
        """The noise model of a diffusers scheduler.

        Raises:
            UserError: a scheduler whose noise levels or prediction type are not understood.
        """
        config, name = scheduler.config, type(scheduler).__name__
        for setting, understood in (_UNDERSTOOD if name in FLOW else _UNDERSTOOD_BY_PRESERVING).items():
            if config.get(setting) not in understood:
                allowed = " or ".join(str(value) for value in understood if value is not None)
                raise UserError(
                    f"the model's scheduler {name} with {setting}={config[setting]!r} is not supported: "
                    f"{setting} must be {allowed}"
                )
        if name in FLOW:
            return cls("velocity", config.num_train_timesteps)
        predicted = config.get("prediction_type")
        if name not in PRESERVING or predicted not in PREDICTION_TYPES[:3]:
            raise UserError(
                f"the model's scheduler {name} with prediction_type {predicted!r} is not supported: it must keep the "
                "variance (betas, as DDIM does) and predict epsilon, v_prediction or sample, or be a flow-matching one"
            )
        alphas = scheduler.alphas_cumprod
        if config.get("rescale_betas_zero_snr") and alphas[-1] > _ALMOST_NO_SIGNAL:
            raise UserError(
                f"the model's scheduler {name} ignores its rescale_betas_zero_snr: "
                "make it a DDIMScheduler or an EulerDiscreteScheduler"
            )
        return cls(predicted, config.num_train_timesteps, alphas)

    @property
    def kind(self) -> Kind:
        """What predictions are converted to."""
        return "velocity" if self.prediction_type == "velocity" else "epsilon"

    def level(self, timesteps: Tensor) -> Level:
        """The levels at training timesteps (rows,), as float32 tensors (rows, 1, 1, 1)."""
        if self.alphas is None:
            noise = timesteps.float().view(-1, 1, 1, 1) / self.num_timesteps
            return Level(1 - noise, noise)
        alphas = self.alphas.to(timesteps.device).float()[timesteps].view(-1, 1, 1, 1)
        return Level(alphas**0.5, (1 - alphas) ** 0.5)

    def prediction(self, output: Tensor, latents: Tensor, level: Level) -> Tensor:
        """The network's output as a prediction of `kind`.

        Args:
            output: of the network, of `prediction_type`, (rows, C, H, W).
            latents: those that the network was given.
            level: the level of the latents.
        """
        if self.prediction_type == "v_prediction":
            return level.signal * output + level.noise * latents
        if self.prediction_type == "sample":
            return (latents - level.signal * output) / level.noise
        return output

    def output(self, prediction: Tensor, latents: Tensor, level: Level) -> Tensor:
        """What the network would put out for a prediction of `kind`, the inverse of `prediction`.

        Args:
            prediction: (rows, C, H, W).
            latents: those that the prediction was made for.
            level: the level of the latents.
        """
        if self.prediction_type == "v_prediction":
            return (prediction - level.noise * latents) / level.signal
        if self.prediction_type == "sample":
            return (latents - level.noise * prediction) / level.signal
        return prediction

    def target(self, clean: Tensor, epsilon: Tensor, level: Level) -> Tensor:
        """What the network should put out for latents that mix `clean` and `epsilon` at this level.

        Args:
            clean: the clean latents x0, (rows, C, H, W).
            epsilon: the noise eps, of the same shape.
            level: the level of the mixture.
        """
        if self.prediction_type == "v_prediction":
            return level.signal * epsilon - level.noise * clean
        if self.prediction_type == "velocity":
            return epsilon - clean
        return clean if self.prediction_type == "sample" else epsilon

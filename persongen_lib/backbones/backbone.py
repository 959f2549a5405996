"""The contract between everything else and a text-to-image model, whatever its family."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from persongen_lib.adapters import overlay
from persongen_lib.adapters.adapted import combined
from persongen_lib.adapters.embeddings import LearnedWord
from persongen_lib.adapters.extra import has_extra, make_room, take_room
from persongen_lib.adapters.files import check_base, trained_words
from persongen_lib.adapters.given import Given, given_adapters, given_digest, placeholders
from persongen_lib.adapters.host import Host
from persongen_lib.adapters.reading import read_contents, told
from persongen_lib.backbones.attention import AttentionControl, Rows
from persongen_lib.backbones.noise import NoiseModel
from persongen_lib.backbones.solvers import Solver, Step
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import functional as F
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

Weights = Literal["personalized", "original"] | float
"""Which weights predict: with the adapter, without it, or with a share of it between 0 (without) and 1 (with)."""


STATES, MASK, MARKS = "encoder_hidden_states", "encoder_attention_mask", "placeholder_marks"
"""Names in a conditioning, of tensors (rows, length, ...) with an entry for each position of the text.

Which positions the placeholder of an adapter has is marked on the CPU.
"""
VECTORS = (STATES, "text_embeds", "pooled_projections")
"""Names in a conditioning of what the text encoders make of a text."""


@dataclass(frozen=True)
class Conditioning:
    """What the network is conditioned on: tensors by name, each with one row per prompt.

    Attributes:
        tensors: vectors of the text's positions, encoder_hidden_states (rows, length, D); of the text as a whole, see
            `VECTORS`; which positions are attended to, encoder_attention_mask (rows, length); and others.
    """

    tensors: Mapping[str, Tensor]

    def rows(self, numbers: Sequence[int]) -> Conditioning:
        """These rows, in this order."""
        return self._map(lambda t: t[list(numbers)])

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """All rows of all parts, in order."""
        names = parts[0].tensors
        return Conditioning({name: torch.cat([part.tensors[name] for part in parts]) for name in names})

    def adjusted(self, other: Conditioning, change: Callable[[Tensor, Tensor], Tensor]) -> Conditioning:
        """The same with `change(own, the other's)` in the place of each of its text vectors."""
        changed = {
            name: change(tensor, other.tensors[name])
            for name, tensor in self.tensors.items()
            if name in VECTORS
        }
        return Conditioning({**self.tensors, **changed})

    def beside(self, other: Conditioning) -> Conditioning:
        """The same with the text of another one behind its own, to which ordinary attention does not attend."""
        own, behind = self.tensors[STATES], other.tensors[STATES]
        whole = torch.ones(own.shape[:2], dtype=torch.long, device=own.device)
        tensors = {MASK: whole, **self.tensors, STATES: torch.cat([own, behind], 1)}
        padded = {
            name: F.pad(tensors[name], (0, behind.shape[1])) for name in (MASK, MARKS) if name in tensors
        }
        return Conditioning({**tensors, **padded})

    def _map(self, function: Any) -> Conditioning:
        return Conditioning({name: function(tensor) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Usual:
    """How a family of models is usually sampled.

    Attributes:
        num_steps: the number of steps.
        scheduler: the solver, one of `SCHEDULERS`.
        guidance_scale: the total scale of guidance.
    """

    num_steps: int = 50
    scheduler: str = "ddim"
    guidance_scale: float = 7.0


class Backbone(ABC):
    """A loaded text-to-image model, frozen and in evaluation mode.

    Latents are float32 (rows, C, H, W) whatever `dtype` the networks compute in.

    Attributes:
        family: the name of the family of models.
        usual: how the family is usually sampled.
        half: the 16-bit number type in which it is sampled on a GPU: "fp16" or, where that overflows, "bf16".
        name: the model's name.
        device: where the networks compute.
        dtype: the number type that the networks compute in.
        latent_shape: (C, H, W) of one image's latents.
        patch: latents of other sizes must have a height and width that are multiples of it.
        most_latents: the longest side of latents that the denoiser has places for; None for any.
        image_size: the side of an image in pixels.
        modules: the modules that fine-tuning may change, by name; "network" is the denoiser.
        original_parts: the subfolder of each of these modules in a model folder.
        scheduler: the model's own scheduler, a diffusers one.
        vae_tiling: whether the autoencoder computes large images in tiles.
        cross_attention: whether text is attended to in layers of its own, and not in one with the image (joint).
        adapter: the loaded adapters with their scales, or None.
        adapter_digest: the digest of their files and scales, or None.
        weights: what its own weights are known by (`weights_digest`); "" where they are not those of a place.
    """

    family: ClassVar[str]
    usual: ClassVar[Usual] = Usual()
    half: ClassVar[str] = "fp16"
    cross_attention: ClassVar[bool] = True
    name: str
    device: torch.device
    dtype: torch.dtype
    latent_shape: tuple[int, int, int]
    patch: int = 1
    most_latents: int | None = None
    image_size: int
    modules: Mapping[str, nn.Module]
    original_parts: ClassVar[Mapping[str, str]]
    scheduler: Any
    vae_tiling: bool = False

    def __init__(self) -> None:
        self.adapter: tuple[Given, ...] | None = None
        self.adapter_digest: str | None = None
        self.weights = ""
        self._own: dict[str, Tensor] = {}
        self._tables: dict[str, Tensor] = {}
        self._original: dict[str, Tensor] = {}
        self._between: dict[float, dict[str, Tensor]] = {}
        self._trained: list[tuple[str, str, bool]] = []
        self._room: dict[str, nn.Module] = {}
        self._warned: set[str] = set()

    @property
    def state(self) -> tuple[Hashable, ...]:
        """What differs when prompts may be encoded otherwise than before, for what keeps encoded prompts."""
        return self.adapter, self.adapter_digest

    @property
    def guidance(self) -> float | None:
        """The guidance that the network takes as a condition, beside that between branches; None for most models.

        Setting it makes another model, whose weights are not known by name: runs in a store take it from
        `load_backbone`.

        Raises:
            UserError: it is set for a model that takes none, or is no number from 0.
        """
        return None

    @guidance.setter
    def guidance(self, value: float) -> None:
        raise UserError(f"{self.name} takes no guidance as a condition: leave guidance out")

    @abstractmethod
    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        """One row per prompt. Differentiable: sampling calls it without gradients.

        Args:
            prompts: the texts.
            clip_skip: how many of the last layers of CLIP text encoders are left out, as in diffusers; None for the
                model's usual layer.

        Raises:
            UserError: `clip_skip` for a model without CLIP, or more layers than there are.
        """

    @abstractmethod
    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's own output (noise or v, as its noise model says), (rows, C, H, W) float32.

        Args:
            latents: (rows, C, H, W).
            timesteps: training timesteps, (rows,), whole numbers or not.
            conditioning: one row per row of the latents.
        """

    @abstractmethod
    def pixels(self, latents: Tensor) -> Tensor:
        """RGB pictures of latents, (rows, 3, height, width) float32 from 0 to 1."""

    @abstractmethod
    def decode(self, latents: Tensor) -> list[Image]:
        """RGB pictures of latents."""

    @abstractmethod
    def encode_images(self, images: Sequence[Image], size: tuple[int, int] | None = None) -> Tensor:
        """Latents (rows, C, H, W) of pictures, whose middle is cropped and resized.

        Args:
            images: the pictures.
            size: width and height in pixels to which they are resized; None for the model's own square.
        """

    @abstractmethod
    def latent_masks(self, masks: Sequence[Image], size: tuple[int, int] | None = None) -> Tensor:
        """Masks ("L" pictures) as `encode_images` crops, (rows, 1, H, W) on the latents' grid, from 0 to 1."""

    @abstractmethod
    def token_rows(self, token: str) -> dict[str, list[int]]:
        """Rows of a placeholder's words in every text encoder's table, by the table's full name.

        A placeholder is one word or several; UserError unless each is one token of its own.
        """

    def check_token(self, token: str) -> None:
        """UserError for a placeholder that is no rare word to this model."""
        self.token_rows(token)

    @abstractmethod
    def spans(self, before: str, words: str, after: str = "") -> tuple[tuple[int, int], ...]:
        """Positions [start, stop) that `words` take in each text sequence of a prompt's conditioning.

        The text sequences follow each other in the conditioning, so that each has positions of its own.

        Args:
            before: what the prompt begins with.
            words: the words that are looked for.
            after: what the prompt ends with.

        Raises:
            UserError: the words are cut off, or are read as others because of what stands beside them.
        """

    @property
    @abstractmethod
    def text_lengths(self) -> tuple[int, ...]:
        """The lengths of the text sequences that follow each other in the conditioning."""

    @property
    def noise_model(self) -> NoiseModel:
        """The model's noise levels and what its network predicts."""
        return NoiseModel.of(self.scheduler)

    def solver(self, name: str, num_steps: int, size: Sequence[int] | None = None) -> Solver:
        """A solver over this model's noise levels.

        Args:
            name: one of `SCHEDULERS`.
            num_steps: from 1 to the number of training timesteps.
            size: height and width of the latents; None for those of `latent_shape`.
        """
        height, width = size or self.latent_shape[1:]
        return Solver(self.scheduler, name, num_steps, self.spacing(num_steps, height, width))

    def spacing(self, num_steps: int, height: int, width: int) -> Mapping[str, Any]:
        """Options of the scheduler's `set_timesteps` beside the number of steps.

        Args:
            num_steps: the number of steps.
            height: of the latents.
            width: of the latents.
        """
        return {}

    def training_timesteps(self, rows: int, generator: torch.Generator) -> Tensor:
        """Training timesteps (rows,) as they are drawn in training, on the CPU."""
        return torch.randint(self.noise_model.num_timesteps, (rows,), generator=generator)

    def check_size(self, height: int, width: int) -> None:
        """A UserError for latents with a side that is longer than `most_latents`."""
        if self.most_latents is not None and max(height, width) > self.most_latents:
            pixels = self.most_latents * self.image_size // self.latent_shape[1]
            raise UserError(
                f"{self.name} makes images of at most {pixels} pixels a side: give a smaller size"
            )

    def predict(self, latents: Tensor, step: Step, conditioning: Conditioning) -> Tensor:
        """Predictions (rows, C, H, W) of the step's kind.

        Args:
            latents: (rows, C, H, W) at this step.
            step: one of a solver's steps.
            conditioning: one row per row of the latents.
        """
        timesteps = torch.full((len(latents),), step.timestep, device=latents.device)
        output = self.forward(latents, timesteps, conditioning)
        return self.noise_model.prediction(output, latents, step)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Latents with noise at training timesteps, and what `forward` should make of them.

        Args:
            latents: clean ones, (rows, C, H, W).
            noise: of unit variance and the latents' shape.
            timesteps: training timesteps, (rows,).

        Returns:
            The noisy latents and the training target, both (rows, C, H, W).
        """
        model = self.noise_model
        level = model.level(timesteps)
        return level.mix(latents, noise), model.target(latents, noise, level)

    @abstractmethod
    def controlled(self, control: AttentionControl | None, rows: Rows) -> AbstractContextManager[None]:
        """Let `control` compute the denoiser's attention, for calls with these `rows` inside the block."""

    def adapter_host(self) -> Host:
        """What readers of adapters need to know of this model; UserError for a model that takes none."""
        raise UserError(f"{self.name} takes no adapters")

    def load_adapter(self, adapter: Any, scale: float = 1.0) -> None:
        """Put the weights of one or several adapters in place, in exchange for those loaded before.

        Args:
            adapter: a folder of a fine-tuning, a LoRA file or folder of diffusers, kohya or peft, a file of learned
                embeddings, a pair of one of these and a scale, a text such as "FILE:0.8", or a list of these.
            scale: a factor of all scales: 0 leaves the model as it is, bit for bit, 1 is the fine-tuned model; see
                `adapters.adapted.adapted`.

        Raises:
            UserError: an adapter that is damaged, was made for another model, or is not supported.
        """
        given, host = given_adapters(adapter, scale), self.adapter_host()
        placeholders(given)
        folders = [found.path for one in given for found in one.files if found.form == "ours"]
        for folder in folders:
            check_base(folder, self.name, self.weights)
        contents, digest = [read_contents(one, host) for one in given], given_digest(given)
        trained = [words for folder in folders if (words := trained_words(folder))]
        if len({in_place for *_, in_place in trained}) > 1:
            raise UserError(
                "some of these adapters put the placeholder before the class word and some in its place: "
                "load adapters of one kind"
            )
        self.unload_adapter()
        try:
            rows = self._learn([word for one in contents for word in one.words])
            self._extend([one.tensors for one in contents if has_extra(one.tensors)])
            pairs = [(one.tensors, one.scale) for one in contents]
            self._own = overlay.install(self.modules, combined(self.modules, [*pairs, (rows, 1.0)]))
        except UserError as error:
            reason = told(error, contents, host)  # while there is still room for what it looks at
            self.unload_adapter()
            raise reason from None
        self.adapter, self.adapter_digest = given, digest
        self._trained = trained

    def unload_adapter(self) -> None:
        """The model as it was loaded, bit for bit."""
        overlay.install(self.modules, self._own)
        overlay.install(self.modules, self._tables)
        take_room(self._room)
        self._own, self._tables, self.adapter, self.adapter_digest = {}, {}, None, None
        self._trained, self._room = [], {}
        self._between.clear()

    def warn_of_other_words(self, token: str, class_name: str) -> None:
        """Warn once where adapters are loaded that were trained with other words, and none with these."""
        words = {(own, name): None for own, name, _ in self._trained}
        if words and (token, class_name) not in words:
            trained = " or ".join(repr(" ".join(one)) for one in words)
            self.warn_once(
                f"the adapter was trained with {trained}, not with {f'{token} {class_name}'!r}: "
                "give the token and the class name that it was trained with"
            )

    @property
    def in_place(self) -> bool:
        """Whether the loaded adapters' placeholder stands in the place of the class word, and not before it."""
        return any(in_place for *_, in_place in self._trained)

    def warn_once(self, text: str) -> None:
        """A warning that is given once for as long as the model is loaded."""
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=5)

    def _learn(self, words: Sequence[LearnedWord]) -> dict[str, Tensor]:
        """Make room for learned words in the vocabulary until `unload_adapter`.

        Returns:
            Their vectors as rows of the tables, by the names of `adapters.rows`.
        """
        if words:
            raise UserError(f"{self.name} takes no learned embeddings")
        return {}

    def _extend(self, extra: Sequence[Mapping[str, Tensor]]) -> None:
        """Make room in the denoiser for an adapter's extra keys and values until `unload_adapter`.

        Args:
            extra: the tensors of each adapter that has some.

        Raises:
            UserError: they do not fit the model, or there are several such adapters.
        """
        if len(extra) > 1:
            raise UserError("only one adapter with extra keys and values can be loaded at a time")
        for tensors in extra:
            self._room = make_room(self.modules, tensors)

    def check_original(self) -> None:
        """Raise a UserError where there are no weights from before fine-tuning."""
        if self.adapter is None and not self._original:
            raise UserError(
                f"{self.name} has no original weights beside its own: load an adapter or give `original`, "
                "or choose a strategy, or superclass_weights=personalized, that needs none"
            )

    def set_original(self, tensors: Mapping[str, Tensor]) -> None:
        """Name the tensors from before fine-tuning, for a model whose own weights are personalized."""
        self._original, self.weights = dict(tensors), ""
        self._between.clear()

    @contextmanager
    def using(self, weights: Weights) -> Iterator[None]:
        """Compute with these weights in a block: "original" is before fine-tuning, 0.3 has 30 % of its change.

        Raises:
            UserError: other weights than "personalized" of a model that has no others.
        """
        if weights != "personalized":
            self.check_original()
        if weights == "original":
            other = {**self._own, **self._original}
        else:
            other = {} if weights == "personalized" else self._interpolated(weights)
        with overlay.installed(self.modules, other):
            yield

    def _interpolated(self, share: float) -> dict[str, Tensor]:
        """The changed parameters, between original (`share` 0) and personalized (1); the last are kept."""
        if share not in self._between:
            self._between.clear()
            original = {**self._own, **self._original}
            personalized = {name: overlay.parameter_of(self.modules, name).data for name in original}
            self._between[share] = {
                name: torch.lerp(original[name].float(), personalized[name].float(), share).to(tensor.dtype)
                for name, tensor in personalized.items()
            }
        return self._between[share]

"""The prompts of an image, one per branch, and where their words stand."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import check_template, check_without, check_words
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

BRANCHES = ("null", "concept", "superclass", "empty")
Text = tuple[str, int | None]
"""A prompt, and how many layers of the text encoders are left out."""


@dataclass(frozen=True)
class AdjustedText:
    """A text whose vectors are changed once they are encoded.

    Attributes:
        own: the text.
        target: the text that it is changed toward.
        change: gives the vectors, (rows, ..., D), from those of `own` and those of `target`; hashable, as it is
            computed once.
    """

    own: Text
    target: Text
    change: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Prompts:
    """A template filled for each branch: with the concept, with its class, with nothing; and the null prompt.

    Beside the branches there is the concept's name alone, "subject".

    The concept is named "{token} {class}", or "{token}" by an adapter whose placeholder takes the place of the class.

    Attributes:
        template: a prompt with `{}` for the concept.
        token: the placeholder, "sks".
        class_name: the class word, "dog".
        negative_prompt: the null prompt, which guidance leads away from.
        clip_skip: how many of the last layers of the CLIP text encoders are left out, for all but the null prompt as
            in diffusers; None for the model's usual layer.
        in_place: whether the placeholder stands in the place of the class word, and not before it.

    Raises:
        UserError: a wrong template, token, class name or negative prompt.
    """

    template: str
    token: str
    class_name: str
    negative_prompt: str = ""
    clip_skip: int | None = None
    in_place: bool = False

    def __post_init__(self) -> None:
        check_template(self.template)
        check_words("token", self.token)
        check_words("class_name", self.class_name)
        check_without(self.token, self.template)
        check_negative_prompt(self.negative_prompt)

    def __getitem__(self, branch: str) -> str:
        before, after = self.template.split("{}")
        filled = {
            "null": self.negative_prompt,
            "concept": f"{before}{self.concept}{after}",
            "superclass": f"{before}{self.class_name}{after}",
            "empty": " ".join(f"{before} {after}".split()),
            "subject": self.concept,
        }
        return filled[branch]

    @property
    def concept(self) -> str:
        """The words that name the concept."""
        return self.token if self.in_place else f"{self.token} {self.class_name}"

    def encoded(self, branch: str) -> Text:
        """A branch's prompt, and the layers that its encoding leaves out."""
        return self[branch], None if branch == "null" else self.clip_skip

    def spans(self, what: str, backbone: Backbone) -> tuple[tuple[int, int], ...]:
        """Positions [start, stop) of words in the conditioning, one for each of its text sequences.

        They are those that name the concept in the concept prompt ("concept") or its class in the superclass prompt
        ("superclass"), or those that the concept prompt has and the superclass prompt lacks ("added").

        Raises:
            UserError: the model reads them as other words, or none are "added" because the class has more of them.
        """
        before, after = self.template.split("{}")
        if what != "added":
            return backbone.spans(before, self.concept if what == "concept" else self.class_name, after)
        if not self.in_place:
            return backbone.spans(before, self.token, after)
        pairs = zip(self.spans("concept", backbone), self.spans("superclass", backbone), strict=True)
        added = [(start, start + (stop - start) - (last - first)) for (start, stop), (first, last) in pairs]
        if any(stop < start for start, stop in added):
            raise UserError(
                f"{self.class_name!r} is more tokens than {self.token!r} and can't be aligned with it: "
                "give align_tokens=False"
            )
        return tuple(added)

    def check(self, backbone: Backbone) -> None:
        """Raise a UserError where the model would not read placeholder and class word as they are."""
        for what in ("concept", "superclass"):
            self.spans(what, backbone)


def read_prompts(
    template: str | Iterable[str],
    token: str,
    class_name: str,
    negative_prompt: str = "",
    clip_skip: int | None = None,
    in_place: bool = False,
) -> list[Prompts]:
    """The prompts of a template, or of several; UserError where there is none."""
    templates = [template] if isinstance(template, str) else template
    if not isinstance(templates, Iterable) or not (templates := list(templates)):
        raise UserError("no template given: give at least one such as 'a photo of a {} in the snow'")
    return [Prompts(one, token, class_name, negative_prompt, clip_skip, in_place) for one in templates]


def check_negative_prompt(text: str) -> str:
    """The text itself, when it is one line of text; "" stands for none."""
    if not isinstance(text, str) or not text.isprintable():
        raise UserError(
            f"negative_prompt must be one line of text such as 'blurry', not {reprlib.repr(text)}"
        )
    return text

"""The prompts of an image, one per branch, and where their words stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import check_template, check_words
from persongen_lib.core.errors import UserError

BRANCHES = ("null", "concept", "superclass", "empty")


@dataclass(frozen=True)
class Prompts:
    """A template filled for each branch: with "{token} {class}", with the class, with nothing; the null prompt is "".

    Attributes:
        template: a prompt with `{}` for the concept.
        token: the placeholder, "sks".
        class_name: the class word, "dog".

    Raises:
        UserError: a wrong template, token or class name.
    """

    template: str
    token: str
    class_name: str

    def __post_init__(self) -> None:
        check_template(self.template)
        check_words("token", self.token)
        check_words("class_name", self.class_name)

    def __getitem__(self, branch: str) -> str:
        before, after = self.template.split("{}")
        filled = {
            "null": "",
            "concept": f"{before}{self.token} {self.class_name}{after}",
            "superclass": f"{before}{self.class_name}{after}",
            "empty": " ".join(f"{before} {after}".split()),
        }
        return filled[branch]

    def spans(self, what: str, backbone: Backbone) -> tuple[tuple[int, int], ...]:
        """Positions [start, stop) of words in the conditioning, one for each of its text sequences.

        They are those of the placeholder ("token") or of placeholder and class word ("concept") in the concept
        prompt, or of the class word in the superclass prompt ("superclass").
        """
        words = {
            "token": self.token,
            "concept": f"{self.token} {self.class_name}",
            "superclass": self.class_name,
        }
        before, after = self.template.split("{}")
        return backbone.spans(before, words[what], after)

    def check(self, backbone: Backbone) -> None:
        """Raise a UserError where the model would not read placeholder and class word as they are."""
        for what in ("concept", "superclass"):
            self.spans(what, backbone)


def read_prompts(template: str | Iterable[str], token: str, class_name: str) -> list[Prompts]:
    """The prompts of a template, or of several; UserError where there is none."""
    templates = [template] if isinstance(template, str) else template
    if not isinstance(templates, Iterable) or not (templates := list(templates)):
        raise UserError("no template given: give at least one such as 'a photo of {} in the snow'")
    return [Prompts(one, token, class_name) for one in templates]

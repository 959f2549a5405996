"""The families of models, one file each in this package, told apart by the pipeline class that a model names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.sources import Source, pipeline_class
from persongen_lib.core.discovery import discover
from persongen_lib.core.errors import UserError

PACKAGE = "persongen_lib.backbones"


class Families(Mapping[str, type[LatentDiffusion]]):
    """Classes of backbones by the pipeline class of diffusers that they wrap.

    A family is a file in the package whose class is decorated with `register`; nothing else lists it.
    """

    def __init__(self) -> None:
        self._classes: dict[str, tuple[int, type[LatentDiffusion]]] = {}

    def register(self, order: int = 1000) -> Callable[[type[LatentDiffusion]], type[LatentDiffusion]]:
        """Class decorator; families are listed by `order`, then by the name of their pipeline class."""

        def enter(cls: type[LatentDiffusion]) -> type[LatentDiffusion]:
            _, known = self._classes.get(cls.pipeline_class, (order, cls))
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    f"a family for {cls.pipeline_class} is registered already: {known.__qualname__}"
                )
            self._classes[cls.pipeline_class] = (order, cls)
            return cls

        return enter

    def __getitem__(self, name: str) -> type[LatentDiffusion]:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def _found(self) -> dict[str, type[LatentDiffusion]]:
        discover(PACKAGE)
        names = sorted(self._classes, key=lambda name: (self._classes[name][0], name))
        return {name: self._classes[name][1] for name in names}


FAMILIES = Families()


def family_of(place: Source) -> type[LatentDiffusion]:
    """The family of a model; a UserError for one that is not known or can't be reached."""
    known = [family for family in FAMILIES.values() if family.family == place.family]
    if known:
        return known[0]
    name = pipeline_class(place)
    if name not in FAMILIES:
        raise UserError(f"{place.name} is a {name}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def family_of_pipeline(pipeline: object) -> type[LatentDiffusion]:
    """The family of a pipeline of diffusers, or of a class derived from one; a UserError for another kind."""
    for cls in type(pipeline).__mro__:
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    raise UserError(f"the pipeline is a {type(pipeline).__name__}; known: {', '.join(FAMILIES)}")

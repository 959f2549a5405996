"""Concepts, their pictures and prompts."""

from persongen_lib.core.paths import DATA
from persongen_lib.data.concepts import Concept, list_concepts, load_concept
from persongen_lib.data.images import read_picture
from persongen_lib.data.opening import UnreadablePicture
from persongen_lib.data.prompts import list_prompts, load_prompts

__all__ = [
    "DATA",
    "Concept",
    "UnreadablePicture",
    "list_concepts",
    "list_prompts",
    "load_concept",
    "load_prompts",
    "read_picture",
]

"""Models named by a source, a folder or a name: what it is called, what is in it, and the network loaded from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from persongen_lib.core.digests import file_digest
from persongen_lib.core.hashing import canonical_json, short_hash

T = TypeVar("T")

LOCAL = "local-dir:"
WEIGHTS = (".safetensors", ".onnx")


def source_name(source: str) -> str:
    """A model folder's name; any other source as it is."""
    folder = Path(source.removeprefix(LOCAL))
    return folder.name if source.startswith(LOCAL) or folder.is_dir() else source


def source_digest(source: str) -> str:
    """12 hexadecimal digits of a model folder's weights and configuration; any other source as it is."""
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.rglob("*") if path.suffix in (*WEIGHTS, ".json"))
    return short_hash(
        canonical_json({path.relative_to(folder).as_posix(): file_digest(path) for path in files})
    )


class Networks:
    """The networks of metrics on one device: each is loaded once for all metrics, concepts, and runs that ask.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", ...; looked for when the first network is loaded.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._loaded: dict[tuple[Callable, str], tuple[str, Any]] = {}

    def __call__(self, load: Callable[[str, str], T], source: str) -> T:
        """What `load(source, device)` returns; loaded again only after the files of the source changed."""
        from persongen_lib.backbones.devices import resolve_device

        digest = source_digest(source)
        known, network = self._loaded.get((load, source), (None, None))
        if known != digest:
            network = load(source, str(resolve_device(self.device)))
            self._loaded[load, source] = digest, network
        return network

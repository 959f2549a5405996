"""YAML files read strictly: version 1.2's core types, names that are texts and stand once, and few aliases."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from persongen_lib.core.errors import UserError

MOST_REPEATS = 10_000
"""The largest number of values that aliases may repeat."""
MOST_LEVELS = 50
"""The largest number of lists and mappings within each other."""
LONGEST = 24
"""The largest number of characters of a whole number."""
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
TYPES = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": INT,
    "float": re.compile(f"{FLOAT.pattern}|{ENDLESS.pattern}"),
}
"""How plain values are told apart in YAML 1.2; all others are texts, dates and `yes` among them."""
TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """A loader whose plain values have the types of YAML 1.2, and that knows a limit of levels."""

    yaml_implicit_resolvers: ClassVar[dict] = {}
    levels = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose a node and those below it, unless it is too deep."""
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise ComposerError(None, None, f"more than {MOST_LEVELS} levels", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


for _name, _pattern in TYPES.items():
    _Loader.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_pattern.pattern})$"), None)


def read_yaml(path: Path) -> Any:
    """The value of a YAML 1.2 file, as plain texts, numbers, lists and dictionaries.

    Raises:
        OSError: The file can't be read.
        UserError: The file is not YAML; a value is missing, or is no finite number of usual size; a name is no text
            or stands twice; a tag is not one of YAML's core; or aliases repeat more than `MOST_REPEATS` values.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
        return None if node is None else _Values(path).of(node)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or "broken"
        raise UserError(f"{path} is not YAML{where}: {why}") from None
    except RecursionError:
        raise UserError(
            f"an alias in {path} stands within what it repeats: write out what is meant"
        ) from None


class _Values:
    """The values of a document's nodes; those of an alias are made anew at each place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[int] = set()
        self.repeats = 0

    def of(self, node: Node) -> Any:
        self.repeats += id(node) in self.seen
        self.seen.add(id(node))
        if self.repeats > MOST_REPEATS:
            raise self.wrong(node, f"aliases repeat more than {MOST_REPEATS} values; write out what is meant")
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, MappingNode) and kind == "map":
            return self.mapping(node)
        if isinstance(node, SequenceNode) and kind == "seq":
            return [self.of(item) for item in node.value]
        if isinstance(node, ScalarNode) and kind == "str":
            return node.value
        if not isinstance(node, ScalarNode) or kind not in TYPES or not TYPES[kind].fullmatch(node.value):
            raise self.wrong(node, f"the tag {node.tag} does not fit its value; leave the tag out")
        return self.plain(node, kind)

    def mapping(self, node: MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = self.of(name_node)
            if not isinstance(name, str):
                raise self.wrong(
                    name_node, f"the name {_short(name_node)} is no text; put it in quotes if it is meant"
                )
            if name in values:
                raise self.wrong(name_node, f"{_short(name_node)} is given twice; keep one of them")
            values[name] = self.of(value_node)
        return values

    def plain(self, node: ScalarNode, kind: str) -> bool | int | float:
        if kind == "null":
            raise self.wrong(node, "a value is missing; give one, or leave its name out")
        if kind == "bool":
            return node.value.lower() == "true"
        if kind == "float":
            return self.finite(node)
        base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
        if len(node.value) > LONGEST or abs(value := int(node.value, base)) >= 2**63:
            raise self.wrong(node, f"the number {_short(node)} is too large; give a smaller one")
        return value

    def finite(self, node: ScalarNode) -> float:
        value = math.inf if ENDLESS.fullmatch(node.value) else float(node.value)
        if math.isfinite(value):
            return value
        raise self.wrong(node, f"the number {_short(node)} is not finite; give a finite one")

    def wrong(self, node: Node, what: str) -> UserError:
        return UserError(f"{self.path}, line {node.start_mark.line + 1}: {what}")


def _short(node: Node) -> str:
    text = node.value if isinstance(node, ScalarNode) else "of several values"
    return repr(text if len(text) <= 40 else f"{text[:37]}...")

"""The code of a strategy as its file has it, for a page beside the formula."""

from __future__ import annotations

import inspect
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_known
from persongen_lib.core.paths import ROOT

if TYPE_CHECKING:
    from IPython.display import Markdown


def strategy_code(name: str, *methods: str) -> Markdown:
    """Show methods of a strategy, highlighted, under the path of their file.

    Args:
        name: A strategy's name.
        methods: Methods that its class defines, by default the one that guides a step.

    Raises:
        UserError: An unknown strategy, or a method that its class does not define.
    """
    from IPython.display import Markdown

    from persongen_lib.sampling.engine.strategy import STRATEGIES

    cls = STRATEGIES[name]
    methods = methods or ("__call__",)
    check_known("method", methods, [key for key, value in vars(cls).items() if inspect.isfunction(value)])
    path = Path(inspect.getfile(cls)).resolve()
    shown = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    code = "\n\n".join(dedent(inspect.getsource(vars(cls)[method])).strip() for method in methods)
    return Markdown(f"`{shown}`\n\n```python\n{code}\n```")

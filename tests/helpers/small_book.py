"""A book of two pages, made by the builder of the real one: its settings, theme, styles and scripts."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import yaml

from persongen_lib.core.paths import ROOT
from persongen_lib.study.papermill import run_notebook

ADDRESS = "https://github.com/someone/beyond"
PROSE = r"""# Words

The superclass in a formula, $\hat\epsilon_\theta(x_t)$, and in one wider than a telephone:

$$
\hat\epsilon_\theta(x_t) = \epsilon_\theta(x_t) + \omega_c (\epsilon_\theta(x_t, c) - \epsilon_\theta(x_t))
+ \omega_s (\epsilon_\theta(x_t, s) - \epsilon_\theta(x_t)) + \omega_r (\epsilon_\theta(x_t, r) - \epsilon_\theta(x_t))
$$ (wide)

:::{warning}
Equation {eq}`wide` is followed by a [notebook](../notebooks/widgets.ipynb).

A command may take very many more words than fit, and an option such as `--seeds`, or `--seeds`, or `--seeds`, is one.
:::

<figure>
<img alt="WIDE" src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='800' height='9'/%3E">
</figure>

| one | two | three |
|---|---|---|
| COLUMN | COLUMN | `COLUMN` |

```python
result = sample(CODE)
```
""".replace("COLUMN", "persongen_lib.sampling.strategies.masked").replace("CODE", "backbone, " * 40)
CODE = [
    ("number = 3", "parameters hide-input"),
    (
        """
import io
import ipywidgets as widgets
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

def picture(color):
    content = io.BytesIO()
    Image.new("RGB", (96, 96), color).save(content, "PNG")
    return widgets.Image(value=content.getvalue())

pictures = [picture(color) for color in tqdm(["red", "green", "blue", "white"])]
""",
        "",
    ),
    (
        """
slider = widgets.IntSlider(max=number - 1, description="step")
play = widgets.Play(max=number - 1)
stack = widgets.Stack(pictures[:number], selected_index=0)
widgets.jslink((slider, "value"), (stack, "selected_index"))
widgets.jslink((play, "value"), (slider, "value"))
words = widgets.HTML("a text <figcaption>and <code>code</code></figcaption>")
widgets.VBox([widgets.HBox([play, slider]), stack, words])
""",
        "widget",
    ),
    ('pd.DataFrame({f"a wide column {k}": [k] for k in range(20)})', ""),
    (
        """
options = pd.Index(["first", "second"], name="option")
pd.DataFrame({"command": ["a word", "3"], "score": ["0.70 [0.63, 0.77]", "–"]}, options)
""",
        "",
    ),
    ('print("a long line " * 40)', ""),
]


def builder() -> ModuleType:
    """book/build.py as a module."""
    if (folder := str(ROOT / "book")) not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("build", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def widget_notebook(folder: Path) -> tuple[Path, Path]:
    """A notebook with a slider over pictures, as it was written and as it was executed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A slider\n\nOver $x_t$.")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for source, tag in CODE:
        notebook.cells.append(nbformat.v4.new_code_cell(source.strip(), metadata={"tags": tag.split()}))
    source = folder / "widgets.ipynb"
    nbformat.write(notebook, source)
    return source, run_notebook(source, folder / "executed.ipynb")


def small_book(folder: Path) -> Path:
    """Build the book in `folder`, an empty one; its pages' folder."""
    build, stage = builder(), folder / "stage"
    build.stage_site(stage, ADDRESS)
    (stage / "book" / "words.md").write_text(PROSE)
    toc = {"format": "jb-book", "root": "book/words", "chapters": [{"file": "notebooks/widgets"}]}
    (stage / "_toc.yml").write_text(yaml.safe_dump(toc))
    (stage / "notebooks").mkdir()
    notebook = build.reading.for_reading(build.reading.with_outputs(*widget_notebook(folder)))
    nbformat.write(notebook, stage / "notebooks" / "widgets.ipynb")
    problems = build.build_html(stage)
    assert not problems, problems
    return Path(shutil.move(stage / "_build" / "html", folder / "html"))

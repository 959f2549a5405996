"""A slider over finished pages, which works without a kernel and on a static page."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets

from persongen_lib.core.errors import UserError


def slideshow(pages: Mapping[str, str], description: str = "", start: int = 0) -> widgets.VBox:
    """One page at a time, chosen by a slider or a play button.

    Slider, button and pages are linked in the browser, so that no Python runs when they move.

    Args:
        pages: HTML by label.
        description: What the slider is labeled with.
        start: The index of the first page shown.

    Raises:
        UserError: There is no page, or none of this index.
    """
    last = len(pages) - 1
    if not isinstance(start, int) or not 0 <= start <= last:
        raise UserError(
            f"a slideshow needs at least one page and starts at one of them, from 0 to {last}, not {start!r}"
        )
    shown = widgets.Stack([widgets.HTML(page) for page in pages.values()], selected_index=start)
    slider = widgets.SelectionSlider(
        options=list(pages),
        index=start,
        description=description,
        style={"description_width": "initial"},
        layout={"flex": "1 1 200px", "max_width": "480px", "width": "auto"},
    )
    play = widgets.Play(
        value=start, max=last, interval=900, show_repeat=False, layout={"flex": "0 0 auto", "width": "auto"}
    )
    widgets.jslink((play, "value"), (slider, "index"))
    widgets.jslink((slider, "index"), (shown, "selected_index"))
    head = widgets.Box([play, slider], layout={"display": "flex", "align_items": "center"})
    return widgets.VBox([head, shown])

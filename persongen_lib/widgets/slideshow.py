"""A slider over finished pages, which works without a kernel and on a static page."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets


def slideshow(pages: Mapping[str, str], description: str = "", start: int = 0) -> widgets.VBox:
    """One page at a time, chosen by a slider or a play button.

    Slider, button and pages are linked in the browser, so that no Python runs when they move.

    Args:
        pages: HTML by label.
        description: What the slider is labeled with.
        start: The index of the first page shown.
    """
    last = len(pages) - 1
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

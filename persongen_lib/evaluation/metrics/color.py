"""Property: does the subject have the color that the prompt asks for ("a photo of a red dog")?

Only the micro-world knows its answer, from a network trained on the renderer's labels.
"""

from __future__ import annotations

from persongen_lib.evaluation.metric import METRICS, SHARE, Batch, Column, Metric
from persongen_lib.evaluation.micro import SEGMENTER, load_segmenter


@METRICS.register("color", order=60)
class Color(Metric):
    """`color_right`: 1.0 or 0.0, None where the prompt names no color; beside it what was asked for and seen.

    `seen_color` is "none" where the subject has colors of its own.
    """

    columns = (
        Column(
            name="color_right", title="correct color", range=SHARE, higher_is_better=True, needs="prompt", shown=130
        ),
        Column(name="asked_color", title="color asked for", kind="string"),
        Column(name="seen_color", title="color seen", kind="string"),
    )  # fmt: skip
    micro_only = True
    default_source = SEGMENTER
    load_network = staticmethod(load_segmenter)

    def __call__(self, batch: Batch) -> dict[str, list]:
        from persongen_lib.world.language.captions import parse

        asked = [parse(template.replace("{}", self.concept.class_name)).color for template in batch.templates]
        seen = batch.seen_by(self.network)[1]
        right = [
            None if wanted is None else float(wanted == found)
            for wanted, found in zip(asked, seen, strict=True)
        ]
        return {"color_right": right, "asked_color": asked, "seen_color": list(seen)}

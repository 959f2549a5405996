"""Ground truth: does the image show the class, the context and the accessory that the prompt asked for?

Only the micro-world has it. Its classifiers answer for every image, so none drops out of a mean; a question
that the prompt does not ask has no answer (None): "a photo of dog" has no right context.
"""

from __future__ import annotations

from persongen_lib.evaluation.metric import METRICS, SHARE, Batch, Column, Metric
from persongen_lib.evaluation.micro import ORACLE, load_oracle

SUBJECTS = ("class", "context", "accessory")


@METRICS.register("truth", order=50)
class Truth(Metric):
    """What was asked for, what is seen, and whether they agree.

    `class_right`, `context_right`, `accessory_right`: 1.0 or 0.0; None where the prompt does not ask.
    `leak`: 1.0 where the image shows a background of the reference images though the prompt asks for
    another, else 0.0; None where the prompt asks for no context or for one of theirs.
    """

    columns = (
        Column(
            name="class_right", title="correct class", range=SHARE, higher_is_better=True, needs="prompt", shown=110
        ),
        Column(
            name="context_right", title="correct background", range=SHARE, higher_is_better=True, needs="prompt",
            shown=90,
        ),
        Column(
            name="accessory_right", title="correct accessory", range=SHARE, higher_is_better=True, needs="prompt",
            shown=120,
        ),
        Column(name="leak", title="leak rate", range=SHARE, higher_is_better=False, needs="prompt", shown=100),
        *(Column(name=f"asked_{what}", title=f"{what} asked for", kind="string") for what in SUBJECTS),
        *(Column(name=f"seen_{what}", title=f"{what} seen", kind="string") for what in SUBJECTS),
        Column(
            name="context_right_background", title="correct background, subject masked", range=SHARE,
            higher_is_better=True, needs="prompt", part="background", of="context_right",
        ),
        Column(
            name="leak_background", title="leak rate, subject masked", range=SHARE, higher_is_better=False,
            needs="prompt", part="background", of="leak",
        ),
    )  # fmt: skip
    micro_only = True
    default_source = ORACLE
    load_network = staticmethod(load_oracle)

    def __call__(self, batch: Batch) -> dict[str, list]:
        from persongen_lib.world.language.captions import parse

        parsed = [parse(template.replace("{}", self.concept.class_name)) for template in batch.templates]
        asked = {
            "class": [words.class_name for words in parsed],
            "context": [words.context for words in parsed],
            "accessory": [words.accessory for words in parsed],
        }
        seen = batch.seen_by(self.network).words
        scores = {
            f"{subject}_right": [
                None if wanted is None else float(wanted == found)
                for wanted, found in zip(asked[subject], seen[subject], strict=True)
            ]
            for subject in SUBJECTS
        }
        trained = self.concept.contexts
        scores["leak"] = [
            None if not trained or wanted in (None, *trained) else float(found in trained)
            for wanted, found in zip(asked["context"], seen["context"], strict=True)
        ]
        scores |= {f"asked_{subject}": asked[subject] for subject in SUBJECTS}
        scores |= {f"seen_{subject}": list(seen[subject]) for subject in SUBJECTS}
        return scores

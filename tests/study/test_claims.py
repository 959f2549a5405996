"""Claims are registered in the study file, and refused where they can't be checked."""

import pytest

from persongen_lib.analysis.claims import Claim
from persongen_lib.core.errors import UserError
from persongen_lib.study import load_study

CLAIM = {
    "claim": "Mixed sampling leaks less", "source": "sweep", "metric": "leak", "one": "mixed", "direction": "lower",
    "other": "base",
}  # fmt: skip


def test_a_study_registers_claims(write_study):
    study = load_study(write_study(strategies=["base", "mixed"], concepts=["dog"], claims=[CLAIM]))
    assert study.claims == (
        Claim(
            words="Mixed sampling leaks less",
            source="sweep",
            metric="leak",
            one="mixed",
            other="base",
            sign=-1,
        ),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"one": "masked"}, "unknown label of a claim in .*: masked; known: base, mixed"),
        ({"metric": "leakage"}, "unknown metric of a claim in .*: leakage"),
        ({"direction": "down"}, "unknown direction of a claim in .*: down; known: higher, lower"),
        ({"source": 3}, "source of a claim in .* must be a text, not 3"),
        ({"sign": -1}, "the keys of a claim in .* must be claim, source, metric, one, direction, other"),
    ],
)
def test_what_can_not_be_checked_is_refused(write_study, changes, message):
    with pytest.raises(UserError, match=message):
        load_study(write_study(strategies=["base", "mixed"], concepts=["dog"], claims=[CLAIM | changes]))


@pytest.mark.parametrize("claims", ["mixed leaks less", [CLAIM["claim"]]])
def test_claims_are_a_list_of_mappings(write_study, claims):
    with pytest.raises(UserError, match="claim, source, metric, one, direction, other"):
        load_study(write_study(strategies=["base", "mixed"], concepts=["dog"], claims=claims))

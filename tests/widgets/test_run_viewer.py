"""The run viewer on a store of painted images: what is shown is what was chosen."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_book import builder

from persongen_lib import Store, UserError, fine_tune_spec, load_concept, sample_spec
from persongen_lib.evaluation.digests import images_digest
from persongen_lib.evaluation.scores import ScoreSpec
from persongen_lib.sampling.engine import contact_sheets
from persongen_lib.sampling.engine.contact_sheets import pack, picture_name
from persongen_lib.widgets import RunViewer
from persongen_lib.widgets import runs as viewer_file
from persongen_lib.widgets.settings import settings_in_folder, settings_in_table

SNOW, BEACH = "a photo of a {} in the snow", "a photo of a {} on the beach"
CHOSEN = {
    ("dog", "dreambooth", "base", ()): {},
    ("dog", "dreambooth", "mixed", ()): {},
    ("dog", "dreambooth", "mixed", (("concept_scale", 0.5),)): {"concept_scale": 0.5},
    ("dog", "lora", "mixed", ()): {},
    ("cat2", "dreambooth", "base", ()): {},
}


def specs():
    """A sample spec for each of CHOSEN."""
    for concept, method, strategy, values in CHOSEN:
        tuning = fine_tune_spec(load_concept(concept), "micro", method)
        yield sample_spec(strategy, [SNOW, BEACH], [0, 3], 5, tuning, **dict(values))


def color(run, prompt, seed):
    """The color of an image, which no other image of the store has."""
    return np.array([40 * run + 20, 100 * prompt + 30, 50 * seed + 30])


def identity(run, prompt, seed):
    return run / 10 + prompt / 100 + seed / 1000


@pytest.fixture
def store(tmp_path):
    """Five finished runs of single-colored images; all but the last are scored."""
    store = Store(tmp_path / "runs")
    for run, spec in enumerate(specs()):
        rows = [
            {"file": picture_name(place, seed), "prompt_index": place, "template": template, "seed": seed}
            for place, template in enumerate(spec.prompts)
            for seed in spec.seeds
        ]

        def paint(folder, run=run, rows=rows):
            (folder / "images").mkdir(exist_ok=True)
            for row in rows:
                paint = tuple(map(int, color(run, row["prompt_index"], row["seed"])))
                Image.new("RGB", (16, 16), paint).save(folder / row["file"])
            (folder / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

        sampled = store.ensure("sample", spec, paint)
        scores = pd.DataFrame(rows)
        scores["identity"] = [identity(run, row["prompt_index"], row["seed"]) for row in rows]
        if run < 4:
            about = ScoreSpec(images_digest(sampled), "x", spec.class_name, None, {})
            store.ensure("evaluate", about, lambda folder, s=scores: s.to_parquet(folder / "scores.parquet"))
    return store


def drawn(viewer):
    """The mean colors of the images in the viewer's HTML, the reference first."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', viewer.pictures.value)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).mean((0, 1)) for one in found]


def text(viewer):
    """What the viewer's HTML says, without its markup."""
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", viewer.pictures.value))


def shows(viewer, *expected):
    """Whether the images after the reference have these colors, in this order."""
    found = drawn(viewer)[1:]
    return len(found) == len(expected) and all(
        np.abs(a - b).max() < 4 for a, b in zip(found, expected, strict=True)
    )


def test_the_images_shown_are_those_of_the_settings_chosen(store):
    viewer = RunViewer(store.root, concept="dog")
    assert viewer.concept.options == ("cat2", "dog")
    assert [label for label, _ in viewer.tuning.options] == ["dreambooth", "lora"]
    assert viewer.seed.value == 0 and viewer.prompt.value == SNOW
    viewer.tuning.value = viewer.tuning.value[:1]
    labels = [label for label, _ in viewer.setting.options]
    assert labels[0] == "base" and "mixed, concept_scale=0.5" in labels and len(labels) == 3
    viewer.setting.value = (0, labels.index("mixed, concept_scale=0.5"))
    assert shows(viewer, color(0, 0, 0), color(2, 0, 0))
    assert "identity similarity 0.20" in text(viewer)
    viewer.prompt.value, viewer.seed.value = BEACH, 3
    assert shows(viewer, color(0, 1, 3), color(2, 1, 3))
    assert "identity similarity 0.21" in text(viewer) and "dog on the beach, seed 3" in viewer.pictures.value
    viewer.strategy.value = ("base",)
    assert shows(viewer, color(0, 1, 3))
    viewer.concept.value = "cat2"
    assert shows(viewer, color(4, 1, 3)) and "identity" not in viewer.pictures.value


def test_a_strategy_that_is_added_is_shown_at_once_beside_what_was_chosen(store):
    viewer = RunViewer(store.root, concept="dog", strategies=["base"])
    viewer.tuning.value = viewer.tuning.value[:1]
    assert shows(viewer, color(0, 0, 0))
    viewer.strategy.value = ("base", "mixed")
    assert len(drawn(viewer)) == 3 and np.abs(drawn(viewer)[1] - color(0, 0, 0)).max() < 4


def test_the_viewer_begins_with_the_fine_tuning_of_most_settings_and_the_settings_of_most_images(store):
    tuning = next(specs()).fine_tune
    more = sample_spec("base", [SNOW], [0], 5, tuning, guidance_scale=1.0)
    sampled = store.ensure("sample", more, lambda folder: (folder / "images").mkdir())
    Image.new("RGB", (16, 16)).save(sampled / picture_name(0, 0))
    viewer = RunViewer(store.root, concept="dog")
    assert [label for label, value in viewer.tuning.options if value in viewer.tuning.value] == ["dreambooth"]
    assert viewer.chosen[0].values["guidance_scale"] == next(specs()).parameters["guidance_scale"] != 1.0
    assert "base, guidance scale" in text(viewer) and "guidance_scale" not in text(viewer)


def test_only_images_that_are_shown_are_read_also_from_contact_sheets(store, monkeypatch):
    for spec in specs():
        pack(store.find("sample", spec))
    opened = []
    monkeypatch.setattr(
        viewer_file, "open_picture", lambda path: opened.append(path) or contact_sheets.open_picture(path)
    )
    viewer = RunViewer(store.root, concept="cat2")
    assert len(opened) == 1 and shows(viewer, color(4, 0, 0))


def rows_of_a_table():
    """The images of the store as rows of a results table."""
    return pd.DataFrame(
        [
            {
                "label": f"{spec.strategy.name} {run}",
                "strategy": spec.strategy.name,
                "concept": spec.fine_tune.concept,
                "class_name": spec.class_name,
                "parameters": json.dumps(spec.parameters),
                "method": spec.fine_tune.method,
                "backbone": "micro",
                "template": template,
                "seed": seed,
                "leak": seed / 4,
                "picture": f"sample/{spec.hash}/{picture_name(place, seed)}",
            }
            for run, spec in enumerate(specs())
            for place, template in enumerate(spec.prompts)
            for seed in spec.seeds
        ]
    )


def test_a_table_is_a_source_and_has_its_own_scores(store, tmp_path):
    table = rows_of_a_table()
    table.to_parquet(file := tmp_path / "table.parquet")
    for source in (table, file):
        viewer = RunViewer(source, store.root, concept="dog", strategies=["mixed"])
        viewer.seed.value = 3
        viewer.tuning.value = [value for label, value in viewer.tuning.options if label == "lora"]
        assert shows(viewer, color(3, 0, 3))
        assert "leak rate 0.75" in text(viewer) and "identity" not in viewer.pictures.value


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("seed", 0.5, "the seed of a row of the table must be one whole number"),
        ("seed", None, "the seed of a row"),
        ("concept", None, "the column concept of the results table has empty cells"),
        ("class_name", 7, "the column class_name of the results table must have texts, not 7"),
        ("method", 7, "the column method of the results table must have texts"),
        (
            "picture",
            "sample/other/p00_s0000.png",
            "two images of base on dog with .* and seed 0 that nothing",
        ),
    ],
)
def test_a_row_that_is_no_image_is_refused(store, column, value, message):
    table = rows_of_a_table().astype({column: object})
    table = pd.concat([table, table.head(1).assign(**{column: [value]})])
    with pytest.raises(UserError, match=message):
        RunViewer(table, store.root)


def test_images_of_two_placeholders_are_two_settings(tmp_path):
    of = [sample_spec("base", [SNOW], [0], 5, class_name="dog", token=token) for token in ("sks", "ohwx")]
    store = Store(tmp_path)
    for spec in of:
        store.ensure("sample", spec, lambda folder: None)
    found, wrong = settings_in_folder(tmp_path)
    assert {one.values["token"] for one in found} == {"sks", "ohwx"} and len(found) == 2 and not wrong
    table = rows_of_a_table().head(4)
    both = pd.concat(
        [table.assign(token="a"), table.assign(token="b", picture="sample/" + table["strategy"])]
    )
    assert [one.values["token"] for one in settings_in_table(both, tmp_path)] == ["a", "b"]


def test_the_reference_is_not_that_of_another_concept_of_the_name(store):
    table, digest = rows_of_a_table(), load_concept("dog").digest
    known = RunViewer(table.assign(concept_digest=digest), store.root, concept="dog", strategies=["base"])
    assert len(drawn(known)) == 2 and "reference of dog" in known.pictures.value
    own = RunViewer(table.assign(concept_digest="0" * 12), store.root, concept="dog", strategies=["base"])
    assert len(drawn(own)) == 1 and "reference" not in own.pictures.value


def test_the_prompt_that_most_settings_have_is_shown_first(store):
    table = rows_of_a_table()
    few = table[(table["concept"] == "dog") & ~((table["strategy"] == "mixed") & (table["template"] == SNOW))]
    assert RunViewer(few, store.root).prompt.value == BEACH


def test_runs_that_are_broken_or_gone_are_a_sentence(store):
    broken, gone, *_ = (store.find("sample", spec) for spec in specs())
    (broken / "spec.json").write_text("{")
    (gone / picture_name(0, 0)).unlink()
    viewer = RunViewer(store.root, concept="dog")
    assert viewer.message.value.startswith("One run is left out because it can")
    assert [label for label, _ in viewer.strategy.options] == ["mixed"]
    viewer.tuning.value = [tuning for _, tuning in viewer.tuning.options]
    viewer.setting.value = [place for _, place in viewer.setting.options]
    assert "is not there" in viewer.pictures.value and shows(viewer, color(2, 0, 0), color(3, 0, 0))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"source": "nowhere"}, "holds no images"),
        ({"concept": "dgo"}, "unknown concept"),
        ({"strategies": ["mixd"]}, "unknown strategy"),
        ({"source": pd.DataFrame({"label": ["a"]})}, "has no column"),
        ({"source": None}, "must be the path of a folder, not None"),
        ({"strategies": "mixd"}, "unknown strategy: mixd; known:"),
        ({"strategies": ["mixd", "bas"]}, "unknown strategies: mixd, bas"),
    ],
)
def test_what_can_not_be_shown_is_refused_in_a_sentence(store, given, words):
    with pytest.raises(UserError, match=words):
        RunViewer(**{"source": store.root, **given})


def test_the_figure_is_saved_with_what_is_shown(store, tmp_path):
    viewer = RunViewer(store.root, concept="cat2")
    viewer.file.value = str(tmp_path / "figure.png")
    viewer.button.click()
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB")).reshape(-1, 3)
    assert (np.abs(pixels - color(4, 0, 0)).max(1) < 3).mean() > 0.5
    viewer.file.value = str(tmp_path / "figure.exe")
    viewer.button.click()
    assert "must end with" in viewer.message.value and not (tmp_path / "figure.exe").exists()
    viewer.file.value = "a\x00.png"
    viewer.button.click()
    assert "must be the path of a file" in viewer.message.value


def test_a_static_page_has_the_images_and_no_dead_controls(store):
    bundle = RunViewer(store.root, concept="cat2")._repr_mimebundle_()
    cell = nbformat.v4.new_code_cell("viewer")
    cell.outputs = [nbformat.v4.new_output("display_data", data=bundle)]
    (out,) = builder().reading.for_reading(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert "data:image/jpeg" in out.data["text/html"]
    assert not [kind for kind in out.data if "widget" in kind]

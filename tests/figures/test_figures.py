"""Figures show what the table says: values, colors, labels, and the right picture in the right place."""

import io
import itertools
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from PIL import Image

from persongen_lib import figures
from persongen_lib.analysis.statistics import paired_differences
from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import catalogue
from persongen_lib.figures.intervals import markers, palette
from persongen_lib.figures.labels import Label, place_labels
from persongen_lib.figures.style import LOOKS, METHOD_LOOKS, ink, look, styled
from persongen_lib.sampling.engine.strategy import STRATEGIES
from persongen_lib.sampling.strategies.mixed import Mixed

LABELS = ("superclass", "base", "mixed")
LINE_MARKERS = (None, "None", "")


@pytest.fixture
def table(tmp_path):
    """One picture a strategy, prompt and seed; its red is the strategy, green the prompt, blue the seed."""
    rows = []
    for red, label in enumerate(LABELS):
        for green, template in enumerate(("a photo of {} in the snow", "a photo of {}")):
            for seed in (0, 1):
                name = f"{label}{green}{seed}.png"
                Image.new("RGB", (8, 8), (red, green, seed)).save(tmp_path / name)
                rows.append(
                    {
                        "label": label,
                        "concept": "rex",
                        "class_name": "dog",
                        "template": template,
                        "seed": seed,
                        "fine_tune": "f",
                        "picture": name,
                        "identity": red / 2,
                        "clip_text": 0.3 - red / 10,
                        "context_right": None if green else 1 - red / 2,
                        "leak": None,
                    }
                )
    return pd.DataFrame(rows)


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axis in figure.axes:
        found += [axis.get_title("left"), axis.get_xlabel(), axis.get_ylabel()]
        found += [text.get_text() for text in (*axis.texts, *axis.get_yticklabels())]
    return found


def found_points(axis):
    """The points of a scatter plot by their color."""
    found = {}
    for color, place in zip(
        axis.collections[-1].get_facecolors(), axis.collections[-1].get_offsets(), strict=True
    ):
        found.setdefault(to_hex(color).upper(), []).append(tuple(place))
    return found


def found_intervals(axis):
    """Low end, mean and high end of every estimate of a point plot, by its color and row."""
    means, ends = {}, {}
    for line in axis.lines[:-1]:  # the last one marks zero
        x, y = (np.asarray(values, float) for values in line.get_data())
        if line.get_marker() in LINE_MARKERS:
            if np.isfinite(x).any():
                ends[line.get_color(), round(np.nanmean(y))] = np.nanmin(x), np.nanmax(x)
        else:
            means |= {
                (line.get_color(), round(row)): at for at, row in zip(x, y, strict=True) if np.isfinite(at)
            }
    assert means.keys() == ends.keys()
    return {key: (ends[key][0], mean, ends[key][1]) for key, mean in means.items()}


def first_pixels(figure):
    return [tuple(int(v) for v in axis.images[0].get_array()[0, 0][:3]) for axis in figure.axes]


def test_the_grid_puts_every_picture_in_its_place(table, tmp_path):
    figure = figures.picture_grid(table.sample(frac=1, random_state=1).sort_values("label"), tmp_path, seed=1)
    labels = sorted(LABELS)
    order = {label: index for index, label in enumerate(LABELS)}
    first_row = first_pixels(figure)[:3]
    assert [pixel[0] for pixel in first_row] == [order[label] for label in labels]
    assert {pixel[1:] for pixel in first_row} in ({(0, 1)}, {(1, 1)})
    assert set(texts(figure)) >= {*LABELS, "a photo of dog in the snow", "a photo of dog"}


def test_the_grid_leaves_a_gap_for_a_missing_picture_and_shows_references(table, tmp_path):
    some = table[~((table["label"] == "base") & (table["template"] == "a photo of {}"))]
    reference = Image.new("RGB", (8, 8), (9, 9, 9))
    figure = figures.picture_grid(some, tmp_path, references={"rex": reference})
    assert len(figure.axes) == 2 * 4 - 1 and first_pixels(figure)[0] == (9, 9, 9)
    assert "reference" in texts(figure)


def test_a_grid_of_nothing_is_refused(table, tmp_path):
    with pytest.raises(UserError, match="seed 77"):
        figures.picture_grid(table, tmp_path, seed=77)


def test_points_stand_at_the_means_in_their_colors(table):
    axis = figures.identity_text(table, num_resamples=50).axes[0]
    assert found_points(axis) == {
        figures.look(label)[0]: [pytest.approx((0.3 - index / 10, index / 2))]
        for index, label in enumerate(LABELS)
    }


def test_bars_are_as_long_as_the_means_and_say_what_was_not_asked(table):
    figure = figures.bars(table, ("context_right", "leak"), num_resamples=50)
    right, leak = figure.axes
    assert [bar.get_width() for bar in right.patches] == pytest.approx([1.0, 0.5, 0.0])
    assert [text.get_text() for text in right.texts] == ["1.00", "0.50", "0.00"]
    assert [text.get_text() for text in leak.texts] == ["not asked"] * 3
    assert [tick.get_text() for tick in right.get_yticklabels()] == list(LABELS)


def test_differences_have_the_intervals_of_the_table_and_not_seaborns(table):
    second = table.assign(concept="tom", identity=table["identity"] * 0.5)
    paired = paired_differences(pd.concat([table, second]), ["identity"], num_resamples=200)
    figure = figures.differences(paired)
    assert found_intervals(figure.axes[0]) == {
        (figures.look(row.label)[0], place): pytest.approx((row.low, row.mean, row.high))
        for place, row in enumerate(paired.itertuples())
    }
    assert (paired["low"] < paired["high"]).all()
    assert {"superclass", "mixed", "identity similarity"} <= set(texts(figure))


def test_every_concept_has_a_line_with_the_mean_under_every_strategy(table):
    figure = figures.concepts(table, "context_right")
    found = {line.get_color(): line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata())}
    assert found == {figures.look(label)[0]: [1 - index / 2] for index, label in enumerate(LABELS)}
    assert "rex" in texts(figure)


def test_parameters_are_lines_through_the_means_with_their_intervals():
    rows = [
        {"strategy": "mixed", "parameter": "concept_scale", "number": number, "metric": "identity",
         "mean": number / 10, "low": number / 10 - 0.02, "high": number / 10 + 0.03,
         "label": f"mixed {number}", "reference": "mixed 2.0"}
        for number in (1.0, 2.0, 4.0)
    ]  # fmt: skip
    (axis,) = figures.parameters(pd.DataFrame(rows)).axes
    assert axis.lines[0].get_xydata() == pytest.approx(np.array([[1, 0.1], [2, 0.2], [4, 0.4]]))
    bars = [segment[:, 1] for segment in axis.containers[0].lines[2][0].get_segments()]
    assert bars == pytest.approx(np.array([[0.08, 0.13], [0.18, 0.23], [0.38, 0.43]]))
    assert list(axis.lines[-1].get_xdata()) == [2.0, 2.0]
    assert axis.get_ylabel() == "mixed\nconcept scale"
    together = pd.DataFrame(rows).assign(parameter="concept_scale, superclass_scale")
    assert figures.parameters(together).axes[0].get_ylabel() == "mixed\nconcept scale\nand others"


def test_a_strategy_keeps_its_look_and_no_two_share_one():
    assert figures.look("switching switch_step=4") == figures.look("switching")
    for looks in (figures.LOOKS, figures.METHOD_LOOKS):
        assert len(set(looks.values())) == len({color for color, _ in looks.values()})
        assert len({marker for _, marker in looks.values()}) == len(looks)


def test_the_strategies_of_the_library_have_colors_that_can_be_told_apart():
    colors = [to_rgb(figures.look(name)[0]) for name in STRATEGIES.names()]
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(np.subtract(one, other)) > 0.24


def register(monkeypatch, *names, **own):
    """Strategies of these names, until the test ends."""
    monkeypatch.setattr(STRATEGIES, "_classes", dict(STRATEGIES._classes))
    for name in names:
        STRATEGIES.register(name)(type(name, (Mixed,), dict(own)))


def test_a_new_strategy_has_a_look_that_no_other_one_moves(monkeypatch):
    names = [f"new{index}" for index in range(12)]
    assert figures.look("new7") == figures.look("") == ("#000000", "o")
    before = {name: figures.look(name) for name in (*STRATEGIES.names(), *figures.METHOD_LOOKS)}
    with monkeypatch.context() as alone:
        register(alone, "new7")
        seventh = figures.look("new7 concept_scale=2, empty prompt")
    register(monkeypatch, *names)
    assert figures.look("new7") == seventh
    assert {name: figures.look(name) for name in before} == before


def test_the_look_of_a_new_strategy_is_like_no_known_one(monkeypatch):
    names = [f"new{index}" for index in range(40)]
    register(monkeypatch, *names)
    known = {*figures.LOOKS.values(), *figures.METHOD_LOOKS.values()}
    colors, markers = zip(*map(figures.look, names), strict=True)
    assert not {marker for _, marker in known} & set(markers) and len(set(markers)) == 6
    for color in colors:
        assert min(np.linalg.norm(np.subtract(to_rgb(color), to_rgb(other))) for other, _ in known) >= 0.25
    assert len(set(colors)) == len(names)


def test_a_class_may_declare_its_look(monkeypatch):
    register(monkeypatch, "own", look=("#123456", "1"))
    assert figures.look("own guidance_scale=3") == ("#123456", "1")


def test_titles_of_metrics_are_those_of_the_catalogue():
    columns = catalogue()
    assert not set(figures.TITLES) & set(columns)
    assert {name: figures.title(name) for name in columns} == {
        name: column.title for name, column in columns.items()
    }
    assert figures.title("leak") == "leak rate" and figures.title("evaluations") == "NFE per image"
    assert figures.title("some_column") == "some column"


def test_trajectories_become_a_table_and_a_figure():
    one = SimpleNamespace(distance=np.array([3.0, 1.0]), cosine=np.array([0.1, 0.9]))
    two = SimpleNamespace(distance=np.array([5.0, 3.0]), cosine=np.array([0.1, 0.9]))
    found = figures.trajectory_table({"base": {(0, 0): one, (0, 1): two}})
    assert list(found["step"]) == [0, 1, 0, 1] and found["picture"].nunique() == 2
    axis = figures.branch_distance(found, mark=1).axes[0]
    assert list(axis.lines[2].get_ydata()) == [4.0, 2.0]
    assert [text.xycoords[1] for text in axis.texts if text.xy[1] == 1] == ["axes fraction"]
    named = figures.branch_distance(found, names={"prompt 0, seed 1": "snow"}).axes[0]
    assert [(text.get_text(), text.xy) for text in named.texts] == [("snow", (1, 3.0))]
    both = figures.trajectory_table({"base": {(0, 0): one}, "mixed": {(0, 0): one}, "masked": {(0, 0): two}})
    figure = figures.branch_distance(both, names={"prompt 0, seed 0": "snow"})
    assert [(text.get_text(), text.get_color()) for text in figure.axes[0].texts] == [
        ("snow", "black"),
        ("snow", figures.style.ink("masked")),
    ]
    assert figure.axes[0].get_legend() is None and len(figure.legends[0].get_texts()) == 3


def test_noises_are_named_by_their_seeds(table, tmp_path):
    later = table.assign(seed=table["seed"] + 4)
    found = {text.rsplit(", ", 1)[-1] for text in texts(figures.side_by_side(later, tmp_path))}
    assert found >= {f"seed {seed}" for seed in sorted(later["seed"].unique())[:2]}


def test_captions_wider_than_their_image_take_several_lines():
    images = [Image.new("RGB", (4, 4))] * 2
    sheet = figures.contact_sheet(images, ["copy", "same, wearing another"], columns=4)
    assert {"copy", "same,\nwearing another"} <= {axis.get_title() for axis in sheet.axes}


def test_equal_scores_of_a_concept_do_not_cover_each_other(table):
    many = pd.concat([table.assign(label=f"new{count}", context_right=1.0) for count in range(8)])
    figure = figures.concepts(many, "context_right")
    figure.draw_without_rendering()
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    heights = sorted(line.get_transform().transform(line.get_xydata())[0, 1] for line in lines)
    assert len(lines) == 8
    assert min(np.diff(heights)) * 72 / figure.dpi > lines[0].get_markersize()


def test_film_strips_and_maps_keep_first_and_last():
    images = [Image.new("RGB", (4, 4), (step, 0, 0)) for step in range(20)]
    figure = figures.film_strip({"concept": images}, range(0, 40, 2), columns=4)
    assert [pixel[0] for pixel in first_pixels(figure)] == [0, 6, 13, 19]
    assert "step 38" in texts(figure)
    maps = {"base": np.zeros((5, 4, 4)), "mixed": np.full((5, 4, 4), 2.0)}
    figure = figures.distance_maps(maps, range(5))
    assert {axis.images[0].get_clim() for axis in figure.axes if axis.images} == {(0, 2)}
    maps["mixed"][0, 0, 0] = 50.0  # one place of 160 does not darken the others
    clipped = figures.distance_maps(maps, range(5))
    assert {axis.images[0].get_clim() for axis in clipped.axes if axis.images} == {(0, 2)}
    with pytest.raises(UserError, match="20 images for 3 steps"):
        figures.film_strip({"concept": images}, range(3))


def test_attention_stands_below_its_picture_and_the_mask_darkens():
    film = [np.full((4, 4, 3), 10 * (step + 1), np.uint8) for step in range(8)]
    attention = np.arange(8.0)[:, None, None] * np.ones((8, 2, 2))
    masks = np.zeros((8, 2, 2), bool)
    masks[:, 0, 0] = True
    figure = figures.attention_film(film, attention, range(8), masks, columns=3)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert [picture[0, 0, 0] for picture in shown[:3]] == [10, 50, 80]
    assert [attended[0, 0] for attended in shown[3:6]] == [0, 4, 7]
    assert shown[8][:, :, 0].tolist() == [[80, 80, 16, 16]] * 2 + [[16] * 4] * 2
    assert {"step 0", "step 4", "step 7", "inside the mask"} <= set(texts(figure))
    assert len(figures.attention_film(film, attention, range(8)).axes) == 2 * 6 + 1
    with pytest.raises(UserError, match="attention has 7 images for 8 steps"):
        figures.attention_film(film, attention[1:], range(8))


def test_decided_and_spectrum_show_the_numbers():
    rows = [
        {"band": band, "picture": picture, "step": step, "share": step / 4 + place}
        for band in ("layout", "detail")
        for picture, place in (("a", 0.0), ("b", 0.2))
        for step in range(3)
    ]
    figure = figures.decided(pd.DataFrame(rows), mark=1)
    axis = figure.axes[0]
    assert list(axis.lines[2].get_ydata()) == pytest.approx([0.1, 0.35, 0.6])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["layout", "detail"]
    assert "step 1" in texts(figure)
    spectra = np.array([[4.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    axis = figures.power_spectrum(spectra).axes[0]
    assert [list(line.get_ydata()) for line in axis.lines] == spectra.tolist()


def test_small_figures_draw(tmp_path):
    images = [Image.new("RGB", (4, 4))] * 7
    losses = pd.DataFrame({"step": range(50), "loss": np.linspace(1, 0.1, 50)})
    sheet = figures.contact_sheet(images, [f"seed {seed}" for seed in range(7)])
    for figure in (sheet, figures.contact_sheet(images), figures.loss_curve(losses)):
        assert figure.get_figwidth() == pytest.approx(figures.WIDTH)
        figure.savefig(tmp_path / "figure.png")


def methods_table(table):
    parts = [
        table.assign(
            method=method, fine_tune=method, fine_tune_num_steps=steps, identity=table["identity"] * share
        )
        for method, share in (("lora", 1.0), ("svdiff", 0.5))
        for steps in (10, 20)
    ]
    return pd.concat(parts, ignore_index=True)


def test_effects_stand_at_the_differences_in_the_methods_colors(table):
    last = methods_table(table).query("fine_tune_num_steps == 20")
    paired = pd.concat(
        [paired_differences(part, ["identity"]).assign(method=name) for name, part in last.groupby("method")]
    )
    axis = figures.effects(paired).axes[0]
    means = {key: mean for key, (_, mean, _) in found_intervals(axis).items()}
    lora, svdiff = figures.look("lora")[0], figures.look("svdiff")[0]
    assert means == {(lora, 0): -0.5, (lora, 1): 0.5, (svdiff, 0): -0.25, (svdiff, 1): 0.25}
    assert [text.get_text() for text in axis.get_yticklabels()] == ["superclass", "mixed"]
    both = pd.concat([paired, paired.assign(metric="leak")])
    assert [len(panel.get_legend().get_texts()) for panel in figures.effects(both).axes] == [2, 2]
    some = both[(both["metric"] == "identity") | (both["method"] == "lora")]
    shown = [
        [text.get_text() for text in panel.get_legend().get_texts()] for panel in figures.effects(some).axes
    ]
    assert shown == [["lora", "svdiff"], ["lora"]]
    long = figures.effects(both.assign(method=both["method"] + 20 * "x"))
    assert not any(panel.get_legend() for panel in long.axes) and len(long.legends[0].get_texts()) == 2


def test_lines_over_the_training_tell_methods_and_strategies_apart(table):
    several = methods_table(table).query("label != 'superclass'")
    axis = figures.over_training(several, ["identity"]).axes[0]
    found = {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in axis.lines}
    assert found == {
        (figures.look("lora")[0], "-"): [0.5, 0.5], (figures.look("lora")[0], "--"): [1, 1],
        (figures.look("svdiff")[0], "-"): [0.25, 0.25], (figures.look("svdiff")[0], "--"): [0.5, 0.5],
    }  # fmt: skip
    assert list(axis.lines[0].get_xdata()) == [10, 20]


def test_repairs_are_points_of_their_methods():
    points = pd.DataFrame(
        {"method": ["lora", "lora", "svdiff"], "leak": [0, 0.5, 1], "mended": [0, 0.4, 0.3]}
    )
    axis = figures.repair(points, "leak", "mended").axes[0]
    assert found_points(axis) == {
        figures.look("lora")[0]: [(0, 0), (0.5, 0.4)],
        figures.look("svdiff")[0]: [(1, 0.3)],
    }


def test_a_matrix_has_a_number_where_there_is_one():
    table = pd.DataFrame(
        {"q": ["a", "a", "b"], "metric": ["clip_text", "leak", "leak"], "v": [0.5, 1.0, 0.25]}
    )
    axis = figures.matrix(table, "v", "metric", "q").axes[0]
    found = {text.get_position(): text.get_text() for text in axis.texts}
    assert found == {(0.5, 0.5): "0.50", (0.5, 1.5): "1.00", (1.5, 1.5): "0.25"}
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        figures.title(name) for name in ("clip_text", "leak")
    ]


@pytest.mark.parametrize("label", ["$x$", r"$\\bad{$", "$(touch x)$", "costs $5", "a_b^c"])
def test_dollar_signs_in_labels_are_no_mathematics(table, tmp_path, label):
    figure = figures.picture_grid(table.assign(label=table["label"].replace("mixed", label)), tmp_path)
    figure.savefig(io.BytesIO())
    (text,) = [text for text in figure.texts if text.get_text() == label]
    assert not text.get_parse_math()


def test_powers_of_ten_on_a_logarithmic_axis_stay_mathematics():
    @styled
    def draw():
        figure, axis = plt.subplots()
        axis.plot([1, 1000])
        axis.set(yscale="log", ylabel="$loss$")
        return figure

    axis = draw().axes[0]
    assert (
        all(label.get_parse_math() for label in axis.get_yticklabels())
        and not axis.yaxis.label.get_parse_math()
    )


def test_placeholders_in_templates_of_a_table_are_text(table, tmp_path):
    table = table.assign(template="a photo of {} {0.__class__}")
    shown = [text.get_text() for text in figures.picture_grid(table, tmp_path).texts]
    assert "a photo of dog {0.__class__}" in shown


@pytest.mark.parametrize(
    ("images", "more"),
    [([], {}), ([1, 2], {"captions": ["a"]}), ([1], {"columns": 0}), ([1], {"columns": None})],
)
def test_contact_sheets_of_wrong_sizes(images, more):
    images = [Image.new("RGB", (8, 8)) for _ in images]
    with pytest.raises(UserError):
        figures.contact_sheet(images, **more)


def test_labels_of_crowded_points_cover_neither_each_other_nor_the_points():
    figure, axis = plt.subplots(figsize=(4, 4))
    spots = np.array([(0.5 + 0.02 * (k % 3), 0.5 + 0.02 * (k // 3)) for k in range(6)])
    axis.plot(*spots.T, "o", markersize=4)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    place_labels(
        axis, [Label(f"{k} steps", tuple(spot), "black") for k, spot in enumerate(spots)], spots[:, None]
    )
    texts = [text for text in axis.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 6
    for box, other in itertools.combinations(boxes, 2):
        assert not box.overlaps(other)
    assert not any(box.contains(*axis.transData.transform(spot)) for box in boxes for spot in spots)
    assert all(axis.get_window_extent().contains(*corner) for box in boxes for corner in (box.min, box.max))
    plt.close(figure)


def test_names_without_a_look_of_their_own_are_told_apart():
    places = ["1 place", "5 places"]
    assert len(set(palette(places).values())) == len(set(markers(places).values())) == 2
    known = ["masked", "masked quantile=0.5"]
    assert len(set(palette(known).values())) == 1


def test_words_in_a_labels_color_are_readable_on_white_and_keep_its_hue():
    for label in (*LOOKS, *METHOD_LOOKS, "of no strategy"):
        red, green, blue = (part / 255 for part in bytes.fromhex(ink(label)[1:]))
        linear = [
            ((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in (red, green, blue)
        ]
        assert 1.05 / (0.05 + np.dot((0.2126, 0.7152, 0.0722), linear)) > 4.45, label
        hue, of_look = (rgb_to_hsv(to_rgb(color))[0] for color in (ink(label), look(label)[0]))
        assert hue == pytest.approx(of_look, abs=0.02)

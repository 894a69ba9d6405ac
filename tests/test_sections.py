"""What is drawn and said of sweeps: figures, sentences, report and summary."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from planted import REPORT, configured
from planted_sweep import LEVELS, Runs, plant_fair, plant_fair_depths, plant_grid

from actlab.engine.csvs import where
from actlab.evidence import comparisons, summaries
from actlab.reporting import comparison_sections, drawings, figures, report, sections
from actlab.reporting.look import line_styles, save_figure

DEPTHS = {"network__depth": ["1", "2", "4", "8", "16"]}
FEW_DEPTHS = {"network__depth": ["1", "2", "4"]}
RATES = {"optimizer__learning_rate": ["0.0003", "0.001", "0.003"]}
INITIALIZERS = {"initializer__name": ["glorot_uniform", "recommended"]}


class Made:
    """All that is made of a sweep."""

    def __init__(self, runs, name="swept", unfinished=(), noise=()):
        runs.noise = list(noise)
        self.sweep = runs.gather(name)
        self.scores = comparisons.score(self.sweep, REPORT.target_accuracy)
        self.summary = summaries.summarise(self.sweep, self.scores, REPORT.confidence)
        self.compared = comparisons.compare(self.sweep, self.scores, REPORT)
        self.drawings = drawings.draw(self.sweep, (), REPORT.confidence)
        if differences := drawings.draw_differences(self.sweep, self.compared, REPORT.confidence):
            self.drawings["accuracy_differences"] = differences
        self.report = sections.compose(
            self.sweep,
            self.summary,
            self.compared,
            self.drawings,
            configured(Path()),
            unfinished=list(unfinished),
        )
        self.captions = {Path(each.path).stem: each.caption for each in self.report.pictures}
        self.answer = " ".join(self.report.answer)

    def axes(self, name):
        """The panels of a figure, without colour bars."""
        figure = self.drawings[name].plot()
        return [each for each in figure.axes if each.get_label() != "<colorbar>"]

    def section(self, title):
        (found,) = (each for each in self.report.sections if each.title == title)
        return found

    def grid(self, title):
        blocks = self.section(title).blocks
        return next(block for block in blocks if isinstance(block, report.Grid))


@pytest.fixture(scope="module")
def by_depth():
    return Made(plant_grid(["tanh", "relu"], DEPTHS))


@pytest.fixture(scope="module")
def by_three_keys():
    rates = {"optimizer__learning_rate": ["0.001", "0.003"]}
    return Made(plant_grid(["tanh", "relu"], {**DEPTHS, **rates, **INITIALIZERS}, seeds=2))


@pytest.fixture(scope="module")
def pair():
    return Made(plant_grid(["sigmoid", "relu"], {}))


@pytest.fixture(scope="module")
def fair():
    return Made(plant_fair(), "fair")


def points(line):
    """Where a line of a figure goes: x, then y."""
    return np.asarray(line.get_data(), dtype=float)


def titles(axes):
    return [each.get_title(loc="left") for each in axes]


# --- Figures -----------------------------------------------------------------------------------


def test_accuracy_against_a_numeric_key_is_one_line_per_activation(by_depth):
    (axes,) = by_depth.axes("test_accuracy")
    assert axes.get_xscale() == "log"
    assert [each.get_text() for each in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert len(axes.collections) == 2  # a band each
    for name in ("tanh", "relu"):
        color = line_styles(["tanh", "relu"])[name].color
        (drawn,) = (
            points(line)
            for line in axes.lines
            if to_hex(line.get_color()).upper() == color
            and len(points(line)[0]) == 5
            and line.get_linewidth() == 1.7
        )
        table = where(by_depth.drawings["test_accuracy"].table, activation=name)
        np.testing.assert_allclose(drawn[1], 100 * table["mean"].to_numpy(dtype=float))
        np.testing.assert_allclose(drawn[0], [1, 2, 4, 8, 16])


BY_INITIALIZER = ["initializer glorot_uniform", "initializer recommended"]


@pytest.mark.parametrize(
    ("grid", "panels"),
    [
        ({**FEW_DEPTHS, **INITIALIZERS}, BY_INITIALIZER),
        ({}, [""]),
        (INITIALIZERS, BY_INITIALIZER),
        ({**FEW_DEPTHS, **RATES}, ["tanh", "relu"]),
    ],
    ids=["a number and a word", "activations alone", "a word", "two numbers"],
)
def test_what_is_drawn_follows_from_what_was_swept(grid, panels):
    made = Made(plant_grid(["tanh", "relu"], grid))
    axes = made.axes("test_accuracy")
    assert titles(axes) == panels
    assert len({each.get_ylim() for each in axes}) == 1  # panels of accuracy have one scale


def test_a_heat_map_shows_each_mean_in_its_cell():
    made = Made(plant_grid(["relu"], {**DEPTHS, **RATES}))
    (axes,) = made.axes("test_accuracy")
    written = {
        tuple(round(place - 0.5) for place in text.get_position()): text.get_text()
        for text in axes.texts
    }
    rows = made.drawings["test_accuracy"].table.to_dict("records")
    assert len(written) == len(rows) == 15
    for row in rows:
        keys = ("network.depth", "optimizer.learning_rate")
        place = tuple(made.sweep.values(key).index(row[key]) for key in keys)
        assert written[place] == f"{100 * row['mean']:.1f}"


def test_of_many_settings_few_have_a_panel_and_the_caption_says_so(by_three_keys):
    shown = titles(by_three_keys.axes("test_accuracy"))
    assert len(shown) == figures.MOST_PANELS
    assert shown[0] == "depth 1, initializer glorot_uniform, learning rate 0.001"
    for name in ("test_accuracy", "accuracy_curves"):
        assert "Shown: 12 of 20 settings" in by_three_keys.captions[name]


def test_a_diverged_configuration_is_marked():
    runs = plant_grid(["relu"], DEPTHS)
    runs.add("exponential", [0.1, 0.11, 0.1], outcome="diverged", network__depth="16")
    runs.add("exponential", [0.9, 0.91, 0.9], network__depth="1")
    made = Made(runs)
    (axes,) = made.axes("test_accuracy")
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert points(cross)[0].tolist() == [16]
    assert "depth 16, exponential with seeds 0, 1 and 2" in made.answer


def test_seeds_that_were_not_trained_have_not_diverged():
    runs = Runs()
    runs.add("relu", [0.9, 0.91, 0.92, 0.93])
    runs.add("tanh", [0.9, 0.91])
    runs.history = [
        (run, seed, epoch, *curves, np.nan if (run, seed) == ("run-1", 0) and epoch > 2 else value)
        for run, seed, epoch, *curves, value in runs.history
    ]
    training, validation = Made(runs).axes("accuracy_curves")
    assert not training.texts
    assert [text.get_text() for text in validation.texts] == ["1 of 6 runs diverged"]


def test_runs_without_histories_have_no_curves():
    runs = plant_grid(["relu", "tanh"], {}, seeds=2)
    runs.history = []
    assert "accuracy_curves" not in Made(runs).drawings


def test_no_text_of_a_figure_is_cut_off(by_depth, fair, tmp_path):
    for made in (by_depth, fair):
        for name, drawing in made.drawings.items():
            figure = drawing.plot()
            save_figure(figure, tmp_path / name)
            renderer = FigureCanvasAgg(figure).get_renderer()
            width, height = figure.bbox.size
            for axes in figure.axes:
                box = axes.get_tightbbox(renderer)
                assert box is not None
                assert min(box.x0, box.y0) > -2
                assert box.x1 < width + 2
                assert box.y1 < height + 2
            assert sum(axes.bbox.width for axes in figure.axes) > 0.4 * width


# --- Regressions and noise ---------------------------------------------------------------------


def test_a_regression_is_reported_by_its_error():
    runs = plant_grid(["tanh", "relu"], {"network__outputs": ["linear"], **FEW_DEPTHS})
    runs.seeds = [(*row[:3], math.nan) for row in runs.seeds]
    runs.history = [(*row[:4], math.nan, row[5], math.nan) for row in runs.history]
    made = Made(runs)
    assert "With depth 1, relu has the lowest mean test MSE, 0.0" in made.answer
    assert "accuracy" not in made.answer
    assert {"test_mse", "loss_curves"} <= made.drawings.keys()
    assert not [name for name in made.drawings if "accuracy" in name]
    (axes, *_) = made.axes("test_mse")
    assert axes.get_ylabel() == "Test MSE"
    assert made.section("Test MSE")
    assert made.grid("Results").header[2:] == ("Validation", "Test MSE", "95 % interval")
    text = report.render_markdown(made.report)
    assert "Mean squared error by epoch" in text
    assert "nats" not in text
    assert "accuracy" not in text


def test_noise_on_the_test_images_is_drawn_from_none_to_most():
    runs, rows = plant_grid(["tanh", "relu"], {"data__name": ["mnist"]}), []
    for run, seed, loss, accuracy in runs.seeds:
        rows += [(run, seed, noise, loss, accuracy - noise / 10) for noise in (1.0, 0.5)]
    made = Made(runs, noise=rows)
    table = made.drawings["noise"].table
    relu = where(table, activation="relu")
    assert relu["noise"].tolist() == ["0", "0.5", "1"]
    np.testing.assert_allclose(-np.diff(relu["mean"]), 0.05)
    (axes,) = made.axes("noise")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Noise", "Test accuracy (%)")
    assert "uniform noise on the test images" in made.captions["noise"]


# --- Sentences ---------------------------------------------------------------------------------


def test_the_answer_names_the_best_by_held_out_images_and_each_verdict(pair):
    best = where(pair.summary, activation="relu").to_dict("records")[0]
    assert (
        "The best of 2 configurations by held-out validation images is relu, with"
        f" {100 * best['val_accuracy_mean']:.2f} % there" in pair.answer
    )
    (row,) = where(pair.compared, metric="test_accuracy").to_dict("records")
    assert row["verdict"] == "worse"
    assert f": better than sigmoid ({-100 * row['mean']:.2f} points" in pair.answer


def test_the_verdicts_on_another_key_are_one_sentence_and_in_the_table():
    level = {"glorot_uniform": 0.9, "recommended": 0.95}
    made = Made(
        plant_grid(
            ["tanh", "relu"],
            {**INITIALIZERS, **FEW_DEPTHS},
            level=lambda _, setting: level[setting["initializer__name"]],
        )
    )
    found = "By test accuracy, initializer glorot_uniform vs. recommended worse in 6 of 6 settings."
    assert found in made.answer
    assert made.answer.count("By test accuracy, depth 1 vs. 2 ") == 1
    grid = made.grid("Comparisons")
    along = [row[grid.header.index("Along")] for row in grid.rows]
    # At 6 settings a pair; 3 depths of 2 activations; 2 neighbours at 4 others.
    assert [along.count(key) for key in ("activation", "initializer", "depth")] == [6, 6, 8]
    assert "The first" not in grid.caption


def test_pairs_that_differ_in_several_keys_are_reported():
    runs = Runs()
    shallow = {"network__depth": "2", "optimizer__learning_rate": "0.001"}
    deep = {"network__depth": "8", "optimizer__learning_rate": "0.01"}
    runs.add("relu", [0.9, 0.9, 0.9], None, "trained", "", "", **shallow)
    runs.add("relu", [0.95, 0.951, 0.949], None, "trained", "", "", **deep)
    made = Made(runs)
    assert (
        "By test accuracy, depth 2, learning rate 0.001 vs. depth 8, learning rate 0.01 worse"
        " (−5.00 points, −5.25 to −4.75)." in made.answer
    )


#: What is said of sweeps: activations, grid, further arguments of `plant_grid`, and the words.
SAID = {
    "chosen by test images": (
        ["sigmoid", "relu"],
        {"data__validation_size": ["0"], **RATES},
        {},
        ["selected on the test images themselves", "hold out validation images"],
    ),
    "a name at the beginning": (
        ["leaky_0", "leaky_1"],
        {},
        {"seeds": 3, "level": lambda *_: 0.9},
        ["leaky_", " has the highest mean test accuracy"],
    ),
    "few settings": (
        ["sigmoid", "relu"],
        DEPTHS,
        {},
        ["With depth 16, relu has the highest mean test accuracy"],
    ),
    "many settings": (
        ["sigmoid", "relu"],
        {"network__depth": [str(depth) for depth in range(1, 31)]},
        {"seeds": 2},
        ["The verdicts of 6 more settings are in comparisons.csv."],
    ),
    "one seed": (
        ["sigmoid", "relu"],
        {},
        {"seeds": 1},
        ["(one seed, no interval)"],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_the_answer_says(name):
    activations, grid, arguments, said = SAID[name]
    made = Made(plant_grid(activations, grid, **arguments))
    for words in said:
        assert words in made.answer
    assert "Leaky_" not in made.answer
    if name == "one seed":
        assert "accuracy_differences" not in made.drawings
        assert not re.search("better than|worse than", made.answer)


def test_the_question_says_what_differs_and_what_is_held_fixed(by_depth):
    question = by_depth.report.question
    assert question.startswith(
        "Compared: 10 configurations on MNIST, which differ in depth (1, 2, 4, 8, 16) and"
        " activation (tanh, relu); seeds 0 to 4. Held fixed: "
    )
    assert "optimizer.learning_rate 0.001" in question
    assert "These keys differ with them: network.hidden." in question


def test_what_is_not_finished_is_said():
    runs = plant_grid(["tanh", "relu"], {}, seeds=2)
    made = Made(runs, unfinished=["gelu/mlp (failed)"])
    assert "1 run is not finished, and left out: gelu/mlp (failed)." in made.answer


# --- Fair sweeps -------------------------------------------------------------------------------


def test_the_fair_report_sets_tuned_beside_baseline(fair):
    for which in ("the baseline", "tuned"):
        lead = f"With {which} settings, relu has the highest mean test accuracy, "
        assert re.search(f"{lead}[^:]*: better than sigmoid", fair.answer)
    rows = where(fair.compared, metric="test_accuracy", key="phase", activation="sigmoid")
    assert f"seeds: sigmoid {100 * rows['mean'].item():.2f} points" in fair.answer
    (row, _) = fair.grid("Tuning").rows
    assert row[:3] == ("sigmoid", "learning rate 0.003", "3")
    assert row[4:] == ("2.00 points", "33 %", "0")
    (axes,) = fair.axes("tuning")
    chosen = [points(line)[0][0] for line in axes.lines if line.get_marker() == "D"]
    assert chosen == pytest.approx([100 * LEVELS["sigmoid"] + 2, 100 * LEVELS["relu"] + 2])


def test_the_fair_report_of_another_key_than_the_activation():
    made = Made(plant_fair_depths(), "fair")
    rows = where(made.compared, metric="test_accuracy", key="phase").to_dict("records")
    told = f"depth {rows[0]['network.depth']} {100 * rows[0]['mean']:.2f} points"
    assert f"tuned minus baseline on the same fresh seeds: {told}" in made.answer
    assert all(row["mean"] > 0.01 for row in rows)


# --- Report, summary and tags ------------------------------------------------------------------


def test_of_very_many_pairs_the_first_are_shown():
    level = dict(zip("abcdefg", np.linspace(0.5, 0.9, 7).tolist(), strict=True))
    made = Made(plant_grid(list("abcdefg"), DEPTHS, 2, lambda name, _: level[name]))
    grid = made.grid("Comparisons")
    most = comparison_sections.MOST_PAIRS
    # Of activations 21 pairs at 5 depths, of depths 4 neighbours at 7 activations.
    assert len(grid.rows) == most
    assert f"The first {most} of 133 pairs." in grid.caption


def test_the_report_shows_every_figure_and_links_its_table(by_depth):
    pixel = report.Image("data:image/png;base64,AAAA", 1, 1)
    images = {each.path: pixel for each in by_depth.report.pictures}
    page = report.render_html(by_depth.report, images)
    assert page.count("<img ") == len(by_depth.drawings)
    assert 'class="claims"' not in page
    text = report.render_markdown(by_depth.report)
    for name in by_depth.drawings:
        assert f"(figures/{name}.png)" in text
        assert f"(tables/{name}.csv)" in text


def test_the_summary_fits_a_terminal(by_three_keys, pair):
    for made in (by_three_keys, pair):
        lines = sections.render_text(made.sweep, made.summary, 0.95).splitlines()
        assert max(map(len, lines)) <= 100
        assert len(lines) <= sections.MOST_LINES + 2
        left = len(made.summary) - sections.MOST_LINES
        assert lines[-1].startswith(f"({left} more") == (left > 0)


def test_verdicts_are_tags(pair, fair):
    tags = comparisons.verdict_tags(pair.compared)
    assert tags == {"verdict.test_accuracy.sigmoid - relu": "worse"}
    tags = comparisons.verdict_tags(fair.compared)
    assert tags["verdict.test_accuracy.tuned: sigmoid - relu"] == "worse"
    assert "verdict.test_accuracy.sigmoid: tuned - baseline" in tags
    # The best setting of relu is the baseline: they are one run.
    assert "verdict.test_accuracy.relu: tuned - baseline" not in tags


def test_families_of_equal_values_have_tags_of_their_own():
    runs = plant_grid(["relu"], {"network__depth": ["1", "2"], "training__batch_size": ["1", "2"]})
    found = Made(runs).compared
    assert sorted(comparisons.verdict_tags(found)) == [
        "verdict.test_accuracy.batch size 1: network.depth 1 - 2",
        "verdict.test_accuracy.batch size 2: network.depth 1 - 2",
        "verdict.test_accuracy.depth 1: training.batch_size 1 - 2",
        "verdict.test_accuracy.depth 2: training.batch_size 1 - 2",
    ]
    assert comparisons.verdict_tags(found, most=3) == {}

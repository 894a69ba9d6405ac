import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from planted import REPORT, compared, configured, plant
from planted_sweep import LEVELS, Runs, plant_fair, plant_fair_depths, plant_grid

from actlab.evidence import comparisons, summaries
from actlab.reporting import drawings, figures, findings, report, sections
from actlab.reporting.look import line_styles, save_figure
from actlab.results.tables import where

DEPTHS = {"network__depth": ["1", "2", "4", "8", "16"]}
RATES = {"training__learning_rate": ["0.0003", "0.001", "0.003"]}
INITIALISERS = {"model__kernel_initializer": ["glorot_uniform", "matched"]}


class Drawn(NamedTuple):
    """What a drawing has drawn, and the table behind it."""

    figure: Figure
    table: pd.DataFrame


class Made:
    """All that is made of a sweep."""

    def __init__(self, runs, name="swept", unfinished=()):
        self.sweep = runs.gather(name)
        self.scores = comparisons.score(self.sweep, REPORT.target_accuracy)
        self.summary = summaries.summarise(self.sweep, self.scores, REPORT.confidence)
        self.compared = comparisons.compare(self.sweep, self.scores, REPORT)
        drawn = drawings.draw(self.sweep, (), REPORT.confidence)
        if differences := drawings.draw_differences(self.sweep, self.compared, REPORT.confidence):
            drawn["accuracy_differences"] = differences
        self.report = sections.compose(
            self.sweep,
            self.summary,
            self.scores,
            self.compared,
            drawn,
            configured(Path()),
            unfinished=list(unfinished),
        )
        self.drawings = {name: Drawn(each.plot(), each.table) for name, each in drawn.items()}
        self.pictures = {Path(each.path).stem: each for each in self.report.pictures}
        self.answer = " ".join(self.report.answer)

    def axes(self, name):
        """The panels of a figure, without colour bars."""
        return [
            each for each in self.drawings[name].figure.axes if each.get_label() != "<colorbar>"
        ]


def points(line):
    """Where a line of a figure goes: x, then y."""
    x, y = np.asarray(line.get_data(), dtype=float)
    return x, y


# --- Figures ------------------------------------------------------------------------------


def test_accuracy_against_a_numeric_key_is_a_line_an_activation():
    made = Made(plant_grid(["tanh", "relu"], DEPTHS))
    (axes,) = made.axes("test_accuracy")
    assert axes.get_xscale() == "log"
    assert [each.get_text() for each in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    means = {
        to_hex(line.get_color()).upper(): points(line)
        for line in axes.lines
        if len(points(line)[0]) == 5 and line.get_linewidth() == 1.7
    }
    for name in ("tanh", "relu"):
        drawn = means[line_styles(["tanh", "relu"])[name].color]
        table = where(made.drawings["test_accuracy"].table, activation=name)
        np.testing.assert_allclose(drawn[1], 100 * table["mean"].to_numpy(dtype=float))
        np.testing.assert_allclose(drawn[0], [1, 2, 4, 8, 16])
    assert len(axes.collections) == 2  # a band each


@pytest.mark.parametrize(
    ("grid", "panels"),
    [
        ({**DEPTHS, **INITIALISERS}, ["initialiser glorot_uniform", "initialiser matched"]),
        ({}, [""]),
        (INITIALISERS, ["initialiser glorot_uniform", "initialiser matched"]),
        ({**DEPTHS, **RATES}, ["tanh", "relu"]),
    ],
    ids=["a number and a word", "activations alone", "a word", "two numbers"],
)
def test_what_is_drawn_follows_from_what_was_swept(grid, panels):
    made = Made(plant_grid(["tanh", "relu"], grid))
    assert [axes.get_title(loc="left") for axes in made.axes("test_accuracy")] == panels


def test_panels_of_accuracy_have_one_scale():
    made = Made(plant_grid(["tanh", "relu"], {**DEPTHS, **INITIALISERS}))
    first, second = made.axes("test_accuracy")
    drawn = [[points(line)[1] for line in axes.lines] for axes in (first, second)]
    assert [min(map(np.min, each)) for each in drawn] != [min(map(np.min, drawn[0]))] * 2
    assert first.get_ylim() == second.get_ylim()


def test_a_heat_map_shows_each_mean_in_its_cell():
    made = Made(plant_grid(["relu"], {**DEPTHS, **RATES}))
    (axes,) = made.axes("test_accuracy")
    written = {
        (round(text.get_position()[0] - 0.5), round(text.get_position()[1] - 0.5)): text.get_text()
        for text in axes.texts
    }
    table = made.drawings["test_accuracy"].table
    for row in table.to_dict("records"):
        place = (
            made.sweep.values("network.depth").index(row["network.depth"]),
            made.sweep.values("training.learning_rate").index(row["training.learning_rate"]),
        )
        assert written[place] == f"{100 * row['mean']:.1f}"
    assert len(written) == 15


def test_of_more_keys_each_setting_has_a_panel_of_dots():
    made = Made(plant_grid(["tanh", "relu"], {**DEPTHS, **RATES, **INITIALISERS}, seeds=2))
    titles = [axes.get_title(loc="left") for axes in made.axes("test_accuracy")]
    assert len(titles) == figures.MOST_PANELS
    assert titles[0] == "depth 1, initialiser glorot_uniform, learning rate 0.0003"
    assert "Shown: 12 of 30 settings" in made.pictures["test_accuracy"].caption


def test_curves_of_many_settings_are_few_panels_and_say_so():
    grid = {"network__depth": [str(depth) for depth in range(1, 21)]}
    made = Made(plant_grid(["tanh", "relu"], grid, seeds=2))
    titles = [axes.get_title(loc="left") for axes in made.axes("accuracy_curves")]
    assert len(titles) == figures.MOST_PANELS
    assert (titles[0], titles[-1]) == ("depth 1", "depth 20")
    assert "Shown: 12 of 20 settings" in made.pictures["accuracy_curves"].caption
    assert len(made.drawings["accuracy_curves"].table) == 2 * 2 * 20 * 4


def test_a_diverged_configuration_is_marked():
    runs = plant_grid(["relu"], DEPTHS)
    runs.add("exponential", [0.1, 0.11, 0.1], outcome="diverged", network__depth="16")
    runs.add("exponential", [0.9, 0.91, 0.9], network__depth="1")
    made = Made(runs)
    (axes,) = made.axes("test_accuracy")
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert points(cross)[0].tolist() == [16]
    assert "depth 16, exponential with seeds 0, 1 and 2" in made.answer


def test_pairs_of_one_setting_each_share_a_panel():
    made = Made(plant_grid(["tanh", "relu"], DEPTHS))
    panels = figures.part_differences(
        where(made.compared, metric="test_accuracy", key="activation"), made.sweep.keys
    )
    assert list(panels) == ["tanh − relu"]
    assert [row["name"] for row in panels["tanh − relu"]] == [
        f"depth {depth}" for depth in DEPTHS["network__depth"]
    ]


@pytest.mark.parametrize(
    "runs",
    [
        plant_grid(["tanh", "relu"], {**DEPTHS, **INITIALISERS}, seeds=2),
        plant_grid(["tanh"], RATES, seeds=1),
        plant_fair(),
    ],
    ids=["depth", "one seed", "fair"],
)
def test_no_text_of_a_figure_is_cut_off_or_lies_on_another_panel(runs, tmp_path):
    made = Made(runs)
    for name, drawing in made.drawings.items():
        save_figure(drawing.figure, tmp_path / name)
        renderer = FigureCanvasAgg(drawing.figure).get_renderer()
        width, height = drawing.figure.bbox.size
        for axes in drawing.figure.axes:
            box = axes.get_tightbbox(renderer)
            assert box is not None
            assert box.x0 > -2
            assert box.y0 > -2
            assert box.x1 < width + 2
            assert box.y1 < height + 2
        assert sum(axes.bbox.width for axes in drawing.figure.axes) > 0.4 * width


# --- Sentences and the report -------------------------------------------------------------


def test_the_answer_names_the_best_by_held_out_images_and_each_verdict():
    made = Made(plant_grid(["sigmoid", "relu"], {}))
    best = made.summary.loc[made.summary["activation"] == "relu"].to_dict("records")[0]
    assert (
        f"The best of 2 configurations by held-out validation images is relu, with"
        f" {100 * best['val_accuracy_mean']:.2f} % there" in made.answer
    )
    (row,) = where(made.compared, metric="test_accuracy").to_dict("records")
    assert row["verdict"] == "worse"
    points = f"{-100 * row['mean']:.2f}"
    assert f"with relu; it is better than sigmoid ({points} points" in made.answer


def test_a_choice_by_test_images_is_called_that():
    made = Made(plant_grid(["sigmoid", "relu"], {"data__validation_size": ["0"], **RATES}))
    assert "picked by these test images themselves, so it flatters" in made.answer
    assert "hold out validation images" in made.answer


def test_what_another_key_decides_is_said_in_one_sentence():
    settled = {"glorot_uniform": 0.9, "matched": 0.95}
    made = Made(
        plant_grid(
            ["tanh", "relu"],
            {**INITIALISERS, "network__depth": ["1", "2", "4"]},
            level=lambda _, at: settled[at["model__kernel_initializer"]],
        )
    )
    told = "By test accuracy, initialiser glorot_uniform against matched worse in 6 of 6 settings."
    assert told in made.answer
    assert made.answer.count("By test accuracy, depth 1 against 2 ") == 1


def test_pairs_that_differ_in_several_keys_are_said():
    runs = Runs()
    for depth, rate, accuracies in (
        ("2", "0.001", [0.9, 0.9, 0.9]),
        ("8", "0.01", [0.95, 0.951, 0.949]),
    ):
        keys = {"network__depth": depth, "training__learning_rate": rate}
        runs.add("relu", accuracies, None, "trained", "", "", **keys)
    made = Made(runs)
    assert (
        "By test accuracy, depth 2, learning rate 0.001 against depth 8, learning rate 0.01 worse"
        " (−5.00 points, −5.25 to −4.75)." in made.answer
    )
    assert "has a mean test accuracy" not in made.answer
    assert "all pairs are compared" in str(section(made, "How it was measured"))


def test_a_sentence_that_begins_with_a_name_leaves_it_as_it_is():
    made = Made(plant_grid([f"leaky_{place}" for place in range(2)], {}, 3, lambda *_: 0.9))
    assert "Leaky_" not in made.answer + " ".join(made.report.brief)
    assert re.match("leaky_[01] has the highest mean test accuracy", made.report.brief[0])


def test_every_activation_has_its_line_and_no_caption_says_otherwise():
    names = [f"mine_{place}" for place in range(12)]
    made = Made(plant_grid(names, {}, 2, lambda *_: 0.9))
    for axes in made.axes("accuracy_curves"):  # training and validation
        assert len(axes.collections) == len(names)  # a band each
    for picture in made.pictures.values():
        assert "Shown:" not in picture.caption


def test_epochs_that_differ_are_not_told_as_one_number():
    made = Made(plant_grid(["tanh", "relu"], {"training__epochs": ["2", "4"]}))
    assert "after 4 epochs" not in made.report.question
    made = Made(plant_grid(["tanh", "relu"], {"data__name": ["a", "b"], "training__epochs": ["2"]}))
    assert "every seed after 2 epochs." in made.pictures["test_accuracy"].caption


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


def test_one_activation_of_a_pipeline_is_compared_with_nothing(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (4,), "deep": (4, 4)}, seeds=[0, 1], epochs=2)
    scores, found = compared(study)
    assert found.empty
    assert drawings.draw_differences(study, found, 0.95) is None
    summary = summaries.summarise(study, scores, 0.95)
    assert len(findings.answer_findings(study, summary, found)) == 2


def test_of_many_settings_each_has_a_short_sentence():
    depths = {"network__depth": [str(depth) for depth in range(1, 31)]}
    made = Made(plant_grid(["sigmoid", "relu"], depths))
    assert made.answer.count("relu has the highest mean test accuracy") == 24
    assert "Of 6 more settings comparisons.csv has the verdicts." in made.answer
    few = Made(plant_grid(["sigmoid", "relu"], DEPTHS))
    assert few.answer.count("the highest mean test accuracy is") == len(DEPTHS["network__depth"])
    assert "With depth 16, the highest mean test accuracy is" in few.answer


def test_what_another_key_changes_is_in_the_table():
    made = Made(plant_grid(["tanh", "relu"], {**INITIALISERS, "network__depth": ["1", "2", "4"]}))
    (grid,) = [
        block for block in section(made, "Comparisons").blocks if isinstance(block, report.Grid)
    ]
    place = grid.header.index("Along")
    along = [row[place] for row in grid.rows if row[place + 1] == "test accuracy"]
    # At 6 settings a pair; 3 depths of 2 activations; 2 neighbours at 4 others.
    assert [along.count(key) for key in ("activation", "initialiser", "depth")] == [6, 6, 8]
    assert "Shown are" not in grid.caption
    assert "its p-values are adjusted apart" in str(section(made, "How it was measured"))


def test_of_very_many_pairs_the_first_by_test_accuracy_are_shown():
    level = dict(zip("abcdefg", np.linspace(0.5, 0.9, 7).tolist(), strict=True))
    made = Made(plant_grid(list("abcdefg"), DEPTHS, 2, lambda name, _: level[name]))
    (grid,) = [
        block for block in section(made, "Comparisons").blocks if isinstance(block, report.Grid)
    ]
    # Of activations 21 pairs at 5 depths, of depths 4 neighbours at 7 activations.
    assert len(grid.rows) == 5 * 21 + 4 * 7
    assert "Shown are 133 pairs by test accuracy" in grid.caption


def test_families_of_equal_values_have_tags_of_their_own():
    runs = plant_grid(["relu"], {"network__depth": ["1", "2"], "training__batch_size": ["1", "2"]})
    compared = Made(runs).compared
    assert sorted(comparisons.verdict_tags(compared)) == [
        "verdict.test_accuracy.batch size 1: network.depth 1 - 2",
        "verdict.test_accuracy.batch size 2: network.depth 1 - 2",
        "verdict.test_accuracy.depth 1: training.batch_size 1 - 2",
        "verdict.test_accuracy.depth 2: training.batch_size 1 - 2",
    ]
    assert comparisons.verdict_tags(compared, most=3) == {}


def test_the_fair_report_of_another_key_than_the_activation():
    made = Made(plant_fair_depths(), "fair")
    rows = where(made.compared, metric="test_accuracy", key="phase").to_dict("records")
    told = "; ".join(
        f"depth {row['network.depth']} {100 * row['mean']:.2f} points" for row in rows[:1]
    )
    assert f"tuned minus baseline on the same fresh seeds: {told}" in made.answer
    assert all(row["mean"] > 0.01 for row in rows)
    assert "Each depth was tuned over a grid" in str(section(made, "What this cannot say"))
    assert "the same for every depth" in str(section(made, "Tuned and baseline"))
    assert "Tuned minus baseline of each depth" in str(section(made, "Tuned and baseline"))


def section(made, title):
    (found,) = [each for each in made.report.sections if each.title == title]
    return found


def test_one_seed_shows_no_order():
    made = Made(plant_grid(["sigmoid", "relu"], {}, seeds=1))
    assert "no uncertainty can be given, so no order is shown" in made.answer
    assert "accuracy_differences" not in made.drawings
    assert not any(word in made.answer for word in ("better than", "worse than"))


def test_the_question_says_what_differs_and_what_is_held_fixed():
    made = Made(plant_grid(["tanh", "relu"], DEPTHS))
    assert made.report.question.startswith(
        "Compared: 10 configurations on MNIST, which differ in depth (1, 2, 4, 8, 16) and"
        " activation (tanh, relu); seeds 0 to 4. Held fixed: "
    )
    assert "training.learning_rate 0.001" in made.report.question
    assert "These keys differ with them: network.hidden." in made.report.question


def test_what_is_not_finished_is_said():
    made = Made(plant_grid(["tanh", "relu"], {}), unfinished=["gelu/mlp (failed)"])
    assert "1 run is not finished, and left out: gelu/mlp (failed)." in made.answer


def test_the_fair_report_sets_tuned_beside_baseline():
    made = Made(plant_fair(), "fair")
    for which in ("the baseline", "tuned"):
        said = re.search(f"With {which} settings, the highest mean .*?\\.\\s", made.answer)
        assert said
        assert "with relu; it is better than sigmoid" in said.group()
    row = where(made.compared, metric="test_accuracy", key="phase", activation="sigmoid").to_dict(
        "records"
    )[0]
    assert f"seeds: sigmoid {100 * row['mean']:.2f} points" in made.answer
    assert "sigmoid 2.00 points (33 % of 3 settings within 0.5 points" in made.answer
    grids = [
        block
        for block in section(made, "Tuned and baseline").blocks
        if isinstance(block, report.Grid)
    ]
    assert grids[0].rows[0][:2] == ("sigmoid", "learning rate 0.003")
    (axes,) = made.axes("tuning")
    chosen = [line for line in axes.lines if line.get_marker() == "D"]
    assert [points(line)[0][0] for line in chosen] == pytest.approx(
        [100 * LEVELS["sigmoid"] + 2, 100 * LEVELS["relu"] + 2]
    )


def test_the_page_needs_nothing_else_and_links_every_table(tmp_path):
    made = Made(plant_grid(["tanh", "relu"], DEPTHS))
    for name, drawing in made.drawings.items():
        save_figure(drawing.figure, tmp_path / "figures" / name)
    images = {each.path: report.embed(tmp_path / each.path) for each in made.report.pictures}
    page = report.render_html(made.report, images)
    assert set(re.findall(r'<img src="(data:image)', page)) == {"data:image"}
    assert len(re.findall("<img ", page)) == len(made.drawings)
    assert not re.search("https?:", re.sub(r'src="[^"]*"', "", page))
    assert 'class="claims"' not in page
    text = report.render_markdown(made.report)
    for name in made.drawings:
        assert f"(figures/{name}.png)" in text
        assert f"(tables/{name}.csv)" in text


@pytest.mark.parametrize(
    "runs",
    [
        plant_grid(["leaky_relu", "relu"], {**DEPTHS, **RATES, **INITIALISERS}, 2, lambda *_: 0.9),
        plant_grid(["tanh", "relu"], {}),
    ],
    ids=["many", "few"],
)
def test_the_summary_fits_a_terminal(runs):
    made = Made(runs)
    lines = sections.render_text(made.sweep, made.summary, 0.95).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= sections.MOST_LINES + 2
    count = len(made.summary)
    left = count - sections.MOST_LINES
    assert lines[-1].startswith(f"({left} more") == (left > 0)


def test_verdicts_are_tags():
    made = Made(plant_grid(["sigmoid", "relu"], {}))
    assert comparisons.verdict_tags(made.compared) == {
        "verdict.test_accuracy.sigmoid - relu": "worse"
    }
    fair = comparisons.verdict_tags(Made(plant_fair(), "fair").compared)
    assert fair["verdict.test_accuracy.tuned: sigmoid - relu"] == "worse"
    assert "verdict.test_accuracy.relu: tuned - baseline" in fair


def test_runs_without_histories_have_no_curves():
    runs = Runs()
    runs.add("relu", [0.9, 0.91])
    runs.add("tanh", [0.9, 0.92])
    runs.history = []
    assert "accuracy_curves" not in Made(runs).drawings

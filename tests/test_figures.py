import math
import struct
import subprocess
import sys
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from planted import activations_of, compared, description_of, plant

from actlab.activations.definitions import ACTIVATIONS
from actlab.evidence import summaries
from actlab.reporting import activation_figures, health_figures, look
from actlab.reporting.drawings import draw, draw_differences
from actlab.results import tables
from actlab.results.metadata import join_curves


class Drawn(NamedTuple):
    """What a drawing has drawn, and the table behind it."""

    figure: Figure
    table: pd.DataFrame


def drawings_of(study):
    drawings = draw(study, activations_of(study), 0.95)
    if differences := draw_differences(study, compared(study)[1], 0.95):
        drawings["accuracy_differences"] = differences
    return {name: Drawn(drawing.plot(), drawing.table) for name, drawing in drawings.items()}


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """The drawings of a study like the default one, and the study."""
    study = plant(tmp_path_factory.mktemp("default"), epochs=6)
    return study, drawings_of(study)


def test_the_same_figure_gives_the_same_bytes(default, tmp_path):
    study, drawings = default
    for name, drawing in drawings.items():
        look.save_figure(drawing.figure, tmp_path / "first" / name)
    # Drawn anew, where a user has set much for other figures.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        for name, drawing in drawings_of(study).items():
            look.save_figure(drawing.figure, tmp_path / "anew" / name)
    # Saved again.
    look.save_figure(drawings["loss_curves"].figure, tmp_path / "again/loss_curves")
    for path in [*(tmp_path / "anew").iterdir(), *(tmp_path / "again").iterdir()]:
        assert path.read_bytes() == (tmp_path / "first" / path.name).read_bytes(), path.name


def test_files_are_at_150_dots_an_inch_and_bear_no_date(default, tmp_path):
    _, drawings = default
    figure = drawings["test_accuracy"].figure
    look.save_figure(figure, tmp_path / "test_accuracy")
    pixels = (tmp_path / "test_accuracy.png").read_bytes()
    width, height = struct.unpack(">II", pixels[16:24])
    assert (width, height) == tuple(int(150 * side) for side in figure.get_size_inches())
    assert b"tEXt" not in pixels
    drawing = (tmp_path / "test_accuracy.svg").read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "dc:date" not in drawing


@pytest.mark.parametrize(
    "shape",
    [
        {"activations": ["relu"], "networks": {"none": ()}, "seeds": [3], "epochs": 1},
        {"activations": ["relu", "mine", "$x$"], "networks": {"mlp": (4, 4)}, "seeds": [0, 1]},
        {
            "activations": list(ACTIVATIONS)[:10],
            "networks": {"none": (), "one": (4,), "deep": (4,) * 8},
            "seeds": [0, 1],
        },
    ],
    ids=["least", "strangers", "most"],
)
def test_every_shape_of_study_can_be_drawn(tmp_path, shape):
    study = plant(tmp_path, **({"epochs": 2} | shape))
    for name, drawing in drawings_of(study).items():
        # Warnings are errors: a panel that collapses or a text without room would raise.
        drawing.figure.draw_without_rendering()
        assert len(drawing.table) > 0, name


def test_drawing_needs_no_pyplot(root):
    code = (
        "import sys, numpy as np; from pathlib import Path; from actlab.reporting import "
        "activation_figures as figures;"
        "figures.plot_sample_images(np.zeros((1, 2, 2), np.uint8), np.array([0]), ['0']);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root / "src", capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


def test_activations_differ_in_colour_and_dashes_and_marker():
    common = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu"]
    styles = look.line_styles(common)
    for attribute in ("color", "dashes", "marker"):
        assert len({getattr(style, attribute) for style in styles.values()}) == len(common)
    assert len(set(look.line_styles(list(ACTIVATIONS)).values())) == len(ACTIVATIONS)
    assert look.line_styles(["tanh", "relu"])["relu"] == styles["relu"]
    strangers = look.line_styles(["relu", "mine", "yours"])
    assert len(set(strangers.values())) == 3
    many = look.line_styles([f"mine_{at}" for at in range(9)])
    assert len(set(many.values())) == 9


def test_curves_show_the_table(default):
    _, drawings = default
    figure, table = drawings["accuracy_curves"]
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left") == "deep: validation")
    row = tables.where(table, network="deep", split="validation", activation="tanh")
    color = look.line_styles(["tanh"])["tanh"].color
    thick = [
        line for line in axes.lines if line.get_color() == color and line.get_marker() != "None"
    ]
    np.testing.assert_allclose(thick[0].get_ydata(), 100 * row["mean"])
    thin = [line for line in axes.lines if line.get_color() == color and line not in thick]
    assert len(thin) == 6
    band = axes.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(100 * row["low"].min())
    assert band[:, 1].max() == pytest.approx(100 * row["high"].max())


def test_an_axis_that_does_not_start_at_zero_says_so(default):
    _, drawings = default
    for name in ("accuracy_curves", "test_accuracy"):
        for axes in drawings[name].figure.axes:
            which = "y" if name == "accuracy_curves" else "x"
            low = getattr(axes, f"get_{which}lim")()[0]
            note = axes.get_title(loc="right")
            assert note == f"{which} axis starts at {low:.4g} %"
    for axes in drawings["epoch_seconds"].figure.axes:
        assert axes.get_xlim()[0] == 0
        assert axes.get_title(loc="right") == ""
    for name in ("loss_curves", "gradient_by_layer"):
        for axes in drawings[name].figure.axes:
            assert axes.get_yscale() == "log"
            assert axes.get_title(loc="right") == "logarithmic axis"


def test_an_axis_of_percentages_ends_where_they_do(tmp_path):
    # Two seeds of a chance apart: the interval of the mean goes from below 0 to above 100 %.
    values = {("relu", "mlp"): [0.2, 0.6], ("tanh", "mlp"): [0.5, 0.9]}

    def change(parts):
        if "history" in parts:
            parts["history"]["val_accuracy"] = 0.2 + 0.4 * parts["history"]["seed"]

    study = plant(
        tmp_path, ["relu", "tanh"], {"mlp": (4,)}, [0, 1], 1, accuracies=values, changed=change
    )
    drawings = drawings_of(study)
    for name, which in (("test_accuracy", "x"), ("accuracy_curves", "y")):
        assert (drawings[name].table["low"].to_numpy() < 0).any()
        for axes in drawings[name].figure.axes:
            low, high = getattr(axes, f"get_{which}lim")()
            assert 0 <= low < high <= 101


def test_the_first_layers_axes_say_what_they_are(default):
    _, drawings = default
    for axes in drawings["gradient_first_layer"].figure.axes:
        if axes.get_xscale() == "log":
            assert axes.get_title(loc="right") == "logarithmic axis"
        else:
            assert axes.get_xlim()[0] == 0
    legend = drawings["gradient_through_training"].figure.legends[0]
    assert "logarithmic axes" in legend.get_title().get_text()


def spreading(seeds_apart):
    """A change that gives relu a first-layer gradient that seeds spread over some decades."""

    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            rows = (table["activation"] == "relu") & (table["layer"] == "hidden_1")
            table.loc[rows, "value"] = 10.0 ** (seeds_apart * table["seed"][rows])

    return change


def intervals_of(axes):
    """The ends of the thick lines of a panel of dots, from the top."""
    return [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]


def test_the_intervals_of_gradients_are_of_geometric_means_and_above_zero(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=1, changed=spreading(0.5))
    figure, table = drawings_of(study)["gradient_first_layer"]
    for axes, epoch in zip(figure.axes, (0, 1), strict=True):
        assert axes.get_xscale() == "log"
        rows = tables.where(table, epoch=epoch)
        drawn = np.array(intervals_of(axes))
        np.testing.assert_allclose(drawn, rows[["low", "high"]].to_numpy())
        low, high = axes.get_xlim()
        assert 0 < low < drawn.min() < drawn.max() < high
        # Halfway between the ends on the axis that it is drawn on.
        assert np.sqrt(drawn.prod(axis=1)) == pytest.approx(rows["geometric_mean"].to_numpy())
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["one seed", "geometric mean and 95 % interval over seeds"]


def test_an_interval_beyond_the_axis_says_so(tmp_path):
    # Two seeds: Student's t of one degree of freedom spans dozens of decades.
    study = plant(
        tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[0, 1], epochs=1, changed=spreading(2)
    )
    figure = drawings_of(study)["gradient_first_layer"].figure
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert high / low < 1e9  # seeds stay apart on paper
    assert {str(line.get_marker()) for line in axes.lines} >= {"<", ">"}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "interval goes on beyond the axis" in texts


def test_a_gradient_of_zero_has_no_geometric_mean_on_the_panel(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            rows = (table["activation"] == "relu") & (table["layer"] == "hidden_1")
            table.loc[rows & (table["seed"] == 2), "value"] = 0.0
            table.loc[(table["activation"] == "tanh"), "value"] = math.nan

    study = plant(tmp_path, ["relu", "tanh", "elu"], {"mlp": (4,)}, epochs=1, changed=change)
    for axes in drawings_of(study)["gradient_first_layer"].figure.axes:
        texts = [text.get_text() for text in axes.texts]
        assert texts[0] == "no geometric mean: zero with 1 of 6 seeds"
        assert texts[1] == "not a number"
        assert len(intervals_of(axes)) == 1


def test_a_band_that_reaches_zero_is_cut_off_and_says_so(tmp_path):
    def change(parts):
        if "history" in parts:
            parts["history"]["val_loss"] = 10.0 ** (parts["history"]["seed"] - 3)

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, epochs=2, changed=change)
    drawings = drawings_of(study)
    _, validation = drawings["loss_curves"].figure.axes
    texts = [text.get_text() for text in drawings["loss_curves"].figure.legends[0].get_texts()]
    assert "95 % band of the mean, cut off where it reaches zero" in texts
    assert validation.get_ylim()[0] > 0
    texts = [text.get_text() for text in drawings["accuracy_curves"].figure.legends[0].get_texts()]
    assert "95 % band of the mean" in texts


def test_times_show_the_middle_half(default):
    study, drawings = default
    axes = drawings["epoch_seconds"].figure.axes[0]
    (row, *_) = summaries.epoch_seconds(study).to_dict("records")
    bars = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.2]
    assert len(bars) == 3
    assert bars[0] == pytest.approx([row["quartile_low"], row["quartile_high"]])
    texts = [text.get_text() for text in drawings["epoch_seconds"].figure.legends[0].get_texts()]
    assert texts == ["one epoch", "median", "middle half"]


def test_colours_are_told_apart_by_colour_blind_eyes():
    # Vienot, Brettel & Mollon 1999: linear RGB as a protanope and a deuteranope see it.
    seen_by = {
        "protanope": np.array(
            [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
        ),
        "deuteranope": np.array(
            [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
        ),
    }
    styles = look.line_styles(["sigmoid", "tanh", "relu"])
    colors = np.array([to_rgb(style.color) for style in styles.values()])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for name, matrix in seen_by.items():
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        for first, second in combinations(seen, 2):
            assert np.linalg.norm(first - second) > 0.15, name


def test_the_vanishing_of_sigmoids_gradient_is_on_the_panel(default):
    _, drawings = default
    axes = next(
        axes
        for axes in drawings["gradient_by_layer"].figure.axes
        if axes.get_title(loc="left") == "deep"
    )
    color = look.line_styles(["sigmoid"])["sigmoid"].color
    values = [line.get_ydata() for line in axes.lines if line.get_color() == color][-1]
    # The planted factor a layer is 6, over eight layers.
    assert values[0] / values[-1] == pytest.approx(6**-8, rel=0.2)
    low, high = axes.get_ylim()
    assert low < values.min() < values.max() < high


def test_zeros_lie_on_the_foot_of_a_logarithmic_axis_and_are_explained(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            table.loc[(table["activation"] == "relu") & (table["layer"] != "output"), "value"] = 0.0

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4, 4)}, epochs=1, changed=change)
    drawings = drawings_of(study)
    axes = drawings["gradient_by_layer"].figure.axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(np.asarray(line.get_xdata())) for line in hollow] == [[0, 1]]
    np.testing.assert_array_equal(hollow[0].get_ydata(), axes.get_ylim()[0])
    for name in ("gradient_by_layer", "gradient_first_layer", "gradient_through_training"):
        texts = [text.get_text() for text in drawings[name].figure.legends[0].get_texts()]
        assert "exactly zero, below the axis" in texts


def test_nothing_but_zeros_can_be_drawn(tmp_path):
    def change(parts):
        if "gradients" in parts:
            parts["gradients"]["value"] = 0.0

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=1, changed=change)
    for drawing in drawings_of(study).values():
        drawing.figure.draw_without_rendering()


def test_diverged_runs_are_counted_on_the_panel(tmp_path):
    def change(parts):
        if "history" in parts and set(parts["layers"]["activation"]) == {"relu"}:
            seeds = parts["history"]["seed"].isin([1, 2]) & (parts["history"]["epoch"] > 1)
            parts["history"].loc[seeds, ["loss", "val_loss"]] = math.nan

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=3, changed=change)
    figure = drawings_of(study)["loss_curves"].figure
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["2 of 12 runs diverged"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_shown_with_formula_and_range(name):
    described = description_of(name)
    figure = activation_figures.plot_activation_functions(join_curves([described]), [described])
    label = figure.axes[0].get_xlabel()
    formula, derivative_formula = ACTIVATIONS[name].write_formulas(**described.constants)
    assert f"$\\phi(x) = {formula}$" in label
    assert f"$\\phi'(x) = {derivative_formula}$" in label
    assert f"range {ACTIVATIONS[name].range(**described.constants)}" in label
    figure.draw_without_rendering()


def panel_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def test_a_map_of_health_shows_the_table_in_shades_and_numbers(default):
    _, drawings = default
    figure, table = drawings["health_saturated_fraction"]
    axes = panel_of(figure, "deep: sigmoid")
    rows = tables.where(table, network="deep", activation="sigmoid")
    cells = axes.collections[0].get_array().reshape(8, 5)
    assert len(set(rows["epoch"])) == 5
    for row in rows.to_dict("records"):
        place = (int(row["layer"].removeprefix("hidden_")) - 1, [0, 1, 2, 5, 6].index(row["epoch"]))
        assert cells[place] == pytest.approx(100 * row["mean"])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["10", "20", "20", "20", "20"] * 8
    # The first layer is on top.
    assert axes.get_yticklabels()[0].get_text() == "1"
    assert axes.get_ylim() == (8, 0)


def test_shades_of_a_map_grow_darker_with_the_value_and_numbers_stand_out(default):
    _, drawings = default
    for name in health_figures.HEALTH_MAPS:
        figure = drawings[f"health_{name}"].figure
        figure.draw_without_rendering()
        for axes in figure.axes:
            if not axes.get_title(loc="left"):
                continue
            mesh = axes.collections[0]
            values = np.ma.filled(mesh.get_array(), math.nan).ravel()
            grey = mesh.to_rgba(values)[:, :3] @ [0.299, 0.587, 0.114]
            order = np.argsort(values)
            assert (np.diff(grey[order]) <= 1e-9).all(), name
            for text, background in zip(axes.texts, grey, strict=True):
                ink = 1.0 if text.get_color() == "white" else 0.0
                assert abs(ink - background) > 0.4, (name, text.get_text())


def test_a_cell_without_a_number_has_a_dash(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            rows = (table["layer"] == "hidden_1") & (table["epoch"] == 0)
            table.loc[rows & (table["statistic"] == "backprop_rms"), "value"] = 0.0

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=2, changed=change)
    figure = drawings_of(study)["health_backprop_rms"].figure
    texts = [text.get_text() for text in panel_of(figure, "mlp: relu").texts]
    assert [text == "–" for text in texts] == [True, False, False, False, False, False]


def test_preactivations_lie_on_the_curve_of_their_activation(default):
    _, drawings = default
    figure, table = drawings["preactivations"]
    axes = panel_of(figure, "mlp: tanh")
    rows = tables.where(table, network="mlp", activation="tanh", layer="hidden_2", epoch=6)
    drawn = [patch.get_data() for patch in axes.patches]
    assert len(drawn) == 2 * 3  # a line before, a line and an area after, for either layer
    edges = [*rows["bin_low"], rows["bin_high"].iloc[-1]]
    heights = 2 - 0.9 * rows["density"] / rows["density"].max()
    np.testing.assert_allclose(drawn[-1].values, heights)
    np.testing.assert_allclose(drawn[-1].edges, edges)
    behind = next(
        other
        for other in figure.axes
        if other is not axes and other.get_position().bounds == axes.get_position().bounds
    )
    x, y = behind.lines[0].get_data()
    np.testing.assert_allclose(y, np.tanh(x), atol=1e-4)  # straight lines between points
    assert behind.get_zorder() < axes.get_zorder()
    assert tuple(axes.get_xlim()) == (x[0], x[-1]) == (-5, 5)


def test_theory_is_drawn_as_lines_and_measurement_as_points(default):
    _, drawings = default
    figure, table = drawings["theory"]
    assert "all" not in set(table["layer"])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    axes = figure.axes[titles.index("tanh: gradient, going back")]
    rows = tables.where(table, activation="tanh", direction="backward")
    rows = tables.where(rows, kernel_initializer="he_uniform")
    drawn = [line.get_ydata() for line in axes.lines]
    for column in ("predicted", "geometric_mean"):
        assert any(np.array_equal(y, rows[column]) for y in drawn), column
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == [
        "glorot_uniform",
        "he_uniform (matched: sigmoid, tanh, relu)",
    ]

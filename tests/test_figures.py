import math
import struct
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from planted import activations_of, compared, description_of, plant, spoil

from actlab.activations.definitions import ACTIVATIONS
from actlab.engine import csvs
from actlab.reporting import activation_figures, look
from actlab.reporting.drawings import draw, draw_differences
from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.results.metadata import join_curves


class Drawings:
    """The figures of a study and their tables, drawn when they are asked for."""

    def __init__(self, study):
        self.study = study
        self.drawings = draw(study, activations_of(study), 0.95)
        if differences := draw_differences(study, compared(study)[1], 0.95):
            self.drawings["accuracy_differences"] = differences

    def figure(self, name):
        return self.drawings[name].plot()

    def table(self, name):
        return self.drawings[name].table

    def panel(self, name, title):
        axes = self.figure(name).axes
        return next(each for each in axes if each.get_title(loc="left") == title)


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """The drawings of a study like the default one."""
    return Drawings(plant(tmp_path_factory.mktemp("default"), epochs=6))


@pytest.fixture
def drawn(tmp_path):
    """Plant a small study and give its drawings."""

    def draw_study(activations, change, networks=None, seeds=range(6), epochs=1):
        networks = networks or {"mlp": (4,)}
        return Drawings(plant(tmp_path, activations, networks, seeds, epochs, changed=change))

    return draw_study


def texts_of(artists):
    return [text.get_text() for text in artists]


def legend_of(figure):
    return texts_of(figure.legends[0].get_texts())


# --- Files -------------------------------------------------------------------------------------


def test_the_same_figure_gives_the_same_bytes(default, tmp_path):
    names = ("accuracy_curves", "health_saturated_fraction", "accuracy_differences")
    for name in names:
        look.save_figure(default.figure(name), tmp_path / "first" / name)
    # Where a user has set much for other figures.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        for name in names:
            look.save_figure(default.figure(name), tmp_path / "anew" / name)
    for path in (tmp_path / "anew").iterdir():
        assert path.read_bytes() == (tmp_path / "first" / path.name).read_bytes(), path.name


def test_files_are_at_150_dots_an_inch_and_bear_no_date(default, tmp_path):
    figure = default.figure("test_accuracy")
    look.save_figure(figure, tmp_path / "test_accuracy")
    pixels = (tmp_path / "test_accuracy.png").read_bytes()
    width, height = struct.unpack(">II", pixels[16:24])
    assert (width, height) == tuple(int(150 * side) for side in figure.get_size_inches())
    assert b"tEXt" not in pixels
    drawing = (tmp_path / "test_accuracy.svg").read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "dc:date" not in drawing


def test_drawing_needs_no_pyplot(root):
    code = (
        "import sys, numpy as np; from pathlib import Path; from actlab.reporting import "
        "activation_figures as figures;"
        "figures.plot_sample_images(np.zeros((1, 2, 2), np.uint8), np.array([0]), ['0']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root / "src", check=True)


ZEROS = spoil("gradients", "value", 0.0)


@pytest.mark.parametrize(
    "shape",
    [
        {"activations": ["relu"], "networks": {"none": ()}, "seeds": [3]},
        {"activations": ["relu", "mine", "$x$"], "networks": {"mlp": (4, 4)}, "change": ZEROS},
        {"activations": list(ACTIVATIONS)[:10], "networks": {"deep": (4,) * 4}},
    ],
    ids=["least", "strangers with nothing but zeros", "most"],
)
def test_every_shape_of_study_can_be_drawn(drawn, shape):
    drawings = drawn(**({"seeds": [0, 1], "change": lambda parts: None} | shape))
    for name, drawing in drawings.drawings.items():
        # Warnings are errors: a panel that collapses or a text without room would raise.
        drawing.plot().draw_without_rendering()
        assert len(drawing.table) > 0, name


# --- Colours -----------------------------------------------------------------------------------


def test_activations_differ_in_colour_and_dashes_and_marker():
    common = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu"]
    styles = look.line_styles(common)
    for attribute in ("color", "dashes", "marker"):
        assert len({getattr(style, attribute) for style in styles.values()}) == len(common)
    assert look.line_styles(["tanh", "relu"])["relu"] == styles["relu"]
    for names in (list(ACTIVATIONS), ["relu", *(f"mine_{place}" for place in range(9))]):
        assert len(set(look.line_styles(names).values())) == len(names)


# Vienot, Brettel & Mollon 1999: linear RGB as a protanope and a deuteranope see it.
@pytest.mark.parametrize(
    "matrix",
    [
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ],
    ids=["protanope", "deuteranope"],
)
def test_colours_are_told_apart_by_colour_blind_eyes(matrix):
    styles = look.line_styles(["sigmoid", "tanh", "relu"])
    colors = np.array([to_rgb(style.color) for style in styles.values()])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
    for first, second in combinations(seen, 2):
        assert np.linalg.norm(first - second) > 0.15


# --- Figures show their tables -----------------------------------------------------------------


#: Columns of each figure's table that its lines and maps are drawn from, and the unit on paper.
SHOWN = {
    "accuracy_curves": (["mean"], 100),
    "loss_curves": (["mean"], 1),
    "test_accuracy": (["mean", "low", "high"], 100),
    "accuracy_differences": (["mean", "low", "high", "new_images_low", "new_images_high"], 100),
    "epoch_seconds": (["epoch_seconds"], 1),
    "gradient_first_layer": (["geometric_mean", "low", "high"], 1),
    "gradient_by_layer": (["mean"], 1),
    "gradient_through_training": (["mean"], 1),
    "theory": (["predicted", "geometric_mean"], 1),
    **{f"health_{name}": (["mean"], 100) for name in HEALTH_MAPS if name.endswith("fraction")},
    **{f"health_{name}": (["mean"], 1) for name in ("backprop_rms", "update_ratio")},
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_in_the_table_is_drawn(default, name):
    axes = default.figure(name).axes
    drawn = [points for each in axes for line in each.lines for points in line.get_data()]
    meshes = [mesh.get_array() for each in axes for mesh in each.collections]
    drawn += [np.ma.filled(values, math.nan) for values in meshes if values is not None]
    drawn = np.sort(np.concatenate([np.ravel(values).astype(float) for values in drawn]))
    columns, unit = SHOWN[name]
    table = default.table(name)
    if name == "theory":
        table = table[table["layer"] != "all"]
    wanted = unit * table[columns].to_numpy(dtype=float).ravel()
    wanted = wanted[np.isfinite(wanted)]
    nearest = np.abs(drawn[:, None] - wanted).min(axis=0)
    assert (nearest <= 1e-9 * np.abs(wanted)).all()


def test_curves_show_the_table(default):
    axes = default.panel("accuracy_curves", "deep: validation")
    table = default.table("accuracy_curves")
    row = csvs.where(table, network="deep", split="validation", activation="tanh")
    color = look.line_styles(["tanh"])["tanh"].color
    lines = [line for line in axes.lines if line.get_color() == color]
    thick = [line for line in lines if line.get_marker() != "None"]
    np.testing.assert_allclose(thick[0].get_ydata(), 100 * row["mean"])
    assert len(lines) - len(thick) == 6
    band = axes.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(100 * row["low"].min())
    assert band[:, 1].max() == pytest.approx(100 * row["high"].max())


def test_a_map_of_health_shows_the_table_in_shades_and_numbers(default):
    axes = default.panel("health_saturated_fraction", "deep: sigmoid")
    table = default.table("health_saturated_fraction")
    rows = csvs.where(table, network="deep", activation="sigmoid")
    cells = axes.collections[0].get_array().reshape(8, 5)
    for row in rows.to_dict("records"):
        place = (int(row["layer"].removeprefix("hidden_")) - 1, [0, 1, 2, 5, 6].index(row["epoch"]))
        assert cells[place] == pytest.approx(100 * row["mean"])
    assert texts_of(axes.texts) == ["10", "20", "20", "20", "20"] * 8
    # The first layer is on top.
    assert axes.get_yticklabels()[0].get_text() == "1"
    assert axes.get_ylim() == (8, 0)


def test_preactivations_lie_on_the_curve_of_their_activation(default):
    axes = default.panel("preactivations", "mlp: tanh")
    table = default.table("preactivations")
    rows = csvs.where(table, network="mlp", activation="tanh", layer="hidden_2", epoch=6)
    drawn = [patch.get_data() for patch in axes.patches]
    assert len(drawn) == 2 * 2  # a line before and an area after, for either layer
    heights = 2 - 0.9 * rows["density"] / rows["density"].max()
    np.testing.assert_allclose(drawn[-1].values, heights)
    np.testing.assert_allclose(drawn[-1].edges, [*rows["bin_low"], rows["bin_high"].iloc[-1]])
    bounds = axes.get_position().bounds
    behind = next(
        other
        for other in axes.figure.axes
        if other is not axes and other.get_position().bounds == bounds
    )
    x, y = behind.lines[0].get_data()
    np.testing.assert_allclose(y, np.tanh(x), atol=1e-4)  # straight lines between points
    assert behind.get_zorder() < axes.get_zorder()
    assert tuple(axes.get_xlim()) == (x[0], x[-1]) == (-5, 5)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "threshold"])
def test_every_activation_is_shown_with_formula_and_range(name):
    described = description_of(name)
    figure = activation_figures.plot_activation_functions(join_curves([described]), [described])
    label = figure.axes[0].get_xlabel()
    formula, derivative_formula = ACTIVATIONS[name].write_formulas(**described.constants)
    assert f"$\\phi(x) = {formula}$" in label
    assert f"$\\phi'(x) = {derivative_formula}$" in label
    assert f"range {ACTIVATIONS[name].range(**described.constants)}" in label
    figure.draw_without_rendering()


# --- Axes --------------------------------------------------------------------------------------


def test_an_axis_of_percentages_ends_where_they_do(tmp_path):
    # Two seeds of a chance apart: the interval of the mean goes from nearly 0 to nearly 100 %.
    values = {("relu", "mlp"): [0.2, 0.6], ("tanh", "mlp"): [0.5, 0.9]}
    change = spoil("history", "val_accuracy", lambda rows: 0.2 + 0.4 * rows["seed"])
    study = plant(
        tmp_path, ["relu", "tanh"], {"mlp": (4,)}, [0, 1], 1, accuracies=values, changed=change
    )
    drawings = Drawings(study)
    for name, which in (("test_accuracy", "x"), ("accuracy_curves", "y")):
        assert (drawings.table(name)["low"].to_numpy() < 0.01).any()
        for axes in drawings.figure(name).axes:
            low, high = getattr(axes, f"get_{which}lim")()
            assert 0 <= low < high <= 101


def spreading(decades):
    """A change that gives relu a first-layer gradient that each seed moves by some decades."""
    return spoil(
        "gradients",
        "value",
        lambda rows: 10.0 ** (decades * rows["seed"]),
        activation="relu",
        layer="hidden_1",
    )


def intervals_of(axes):
    """The ends of the thick lines of a panel of dots, from the top."""
    return [line.get_xdata() for line in axes.lines if line.get_linewidth() == 2.2]


def test_the_intervals_of_gradients_are_of_geometric_means_and_above_zero(drawn):
    drawings = drawn(["relu", "tanh"], spreading(0.2))
    figure, table = drawings.figure("gradient_first_layer"), drawings.table("gradient_first_layer")
    for axes, epoch in zip(figure.axes, (0, 1), strict=True):
        rows = csvs.where(table, epoch=epoch)
        ends = np.array(intervals_of(axes))
        np.testing.assert_allclose(ends, rows[["low", "high"]].to_numpy())
        low, high = axes.get_xlim()
        assert 0 < low < ends.min() < ends.max() < high
        # Halfway between the ends on the axis that it is drawn on.
        assert np.sqrt(ends.prod(axis=1)) == pytest.approx(rows["geometric_mean"].to_numpy())
    assert legend_of(figure) == ["one seed", "geometric mean and 95 % interval over seeds"]


def test_an_interval_beyond_a_logarithmic_axis_is_cut_off(drawn):
    # Two seeds: Student's t of one degree of freedom spans dozens of decades.
    figure = drawn(["relu", "tanh"], spreading(2), seeds=[0, 1]).figure("gradient_first_layer")
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert high / low < 1e9  # seeds stay apart on paper
    assert min(map(min, intervals_of(axes))) == low


# --- Zeros and NaN -----------------------------------------------------------------------------


def test_zeros_lie_on_the_foot_of_a_logarithmic_axis(drawn):
    change = spoil("gradients", "value", 0.0, activation="relu", layer=["hidden_1", "hidden_2"])
    axes = drawn(["relu", "tanh"], change, {"mlp": (4, 4)}).figure("gradient_by_layer").axes[0]
    mean = next(line for line in axes.lines if line.get_linewidth() == 1.7)
    assert list(np.ravel(mean.get_ydata())[:2]) == [axes.get_ylim()[0]] * 2


def test_a_gradient_without_a_geometric_mean_says_so(drawn):
    def change(parts):
        spoil("gradients", "value", 0.0, activation="relu", layer="hidden_1", seed=2)(parts)
        spoil("gradients", "value", math.nan, activation="tanh")(parts)

    drawings = drawn(["relu", "tanh", "elu"], change)
    for axes in drawings.figure("gradient_first_layer").axes:
        assert texts_of(axes.texts)[:2] == ["no mean", "no mean"]
        assert len(intervals_of(axes)) == 1


def test_a_cell_without_a_number_has_a_dash(drawn):
    change = spoil("gradients", "value", 0.0, layer="hidden_1", epoch=0, statistic="backprop_rms")
    panel = drawn(["relu"], change, epochs=2).panel("health_backprop_rms", "mlp: relu")
    assert [text == "–" for text in texts_of(panel.texts)] == [True, *[False] * 5]


def test_diverged_runs_are_counted_on_the_panel(drawn):
    change = spoil("history", "val_loss", math.nan, activation="relu", seed=[1, 2], epoch=[2, 3])
    axes = drawn(["relu", "tanh"], change, epochs=3).panel("loss_curves", "mlp: validation")
    assert texts_of(axes.texts) == ["2 of 12 runs diverged"]

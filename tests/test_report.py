import base64
import io
import json
import math
import re
from dataclasses import asdict, replace
from html import unescape
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from browser import opened
from PIL import Image
from planted import REPORT, activations_of, all_of, compared, composed_of, configured, plant, spoil

from actlab.data.config import DataConfig
from actlab.data.splits import Split, Splits, save_processed
from actlab.engine import csvs
from actlab.engine.csvs import where
from actlab.errors import UserError
from actlab.evidence import comparisons, layer_summaries, predictions
from actlab.evidence.claims import CLAIMS
from actlab.evidence.comparisons import METRICS
from actlab.evidence.differences import difference_text
from actlab.evidence.statistics import share_interval
from actlab.probes.config import TheoryConfig, TimingConfig
from actlab.reporting import report
from actlab.reporting.method_sections import drop_shared_part, write_verdict
from actlab.results import metadata, tables
from actlab.stages.report import report as write_report
from actlab.training.config import TrainingConfig

VOID = {"meta", "img", "br", "link", "hr"}
COUNTS = pd.DataFrame(
    [(split, label, count) for split, count in (("train", 3), ("test", 3)) for label in range(10)],
    columns=list(tables.CLASS_COUNTS),
)


class Page(HTMLParser):
    """An HTML page whose tags are closed in order; its tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def config_of(study, folder, validation_size=0):
    """The configuration under which a study would have been planted."""
    return configured(
        folder,
        data=DataConfig("mnist", validation_size, 0),
        activations=list(study.activations),
        networks=list(study.networks),
        seeds=list(study.seeds),
        training=TrainingConfig(study.epochs, 128, [0, 1, 2, 5, 10]),
        timing=TimingConfig(3, 2, 16, 5, 100),
        theory=TheoryConfig(["glorot_uniform", "recommended"], 16, 4, 8, [0, 1]),
    )


def composed(study, folder, **changes):
    """The report of a study."""
    config = config_of(study, folder, **changes)
    study = replace(study, has_held_out=config.data.validation_size > 0)
    return composed_of(study, compared(study), COUNTS, config)


def page_of(told):
    pixel = report.Image("data:image/png;base64,AAAA", 1, 1)
    return Page(report.render_html(told, {each.path: pixel for each in told.pictures}))


def write(study, folder):
    """Write what the report needs beside results, and the report."""
    for described in activations_of(study):
        metadata.save(described, None, folder / "results/activations" / described.name)
    rng = np.random.default_rng(0)
    split = Split(np.zeros((30, 784), np.float32), np.arange(30, dtype=np.int32) % 10)
    made_with = asdict(config_of(study, folder).data)
    splits = Splits(split, None, split, tuple("0123456789"), (28, 28))
    save_processed(splits, folder / "processed", made_with)
    for network, name in study.identities():
        logits: dict[str, Any] = {f"seed-{seed}": rng.normal(size=(30, 10)) for seed in study.seeds}
        np.savez(folder / f"runs/{name}-{network}/results/test.npz", **logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actlab.tracking.publish_study.log_report", lambda config, reports: None)
        patch.setattr("actlab.tracking.overview.log_overview", lambda config: None)
        write_report(config_of(study, folder))


ACCURACIES = {
    ("sigmoid", "mlp"): [0.9700, 0.9712, 0.9706],
    ("tanh", "mlp"): [0.9801, 0.9790, 0.9803],
    ("relu", "mlp"): [0.9804, 0.9789, 0.9803],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a whole report of planted results, and the study."""
    folder = tmp_path_factory.mktemp("study")
    networks = {"mlp": (8, 8), "deep": (8,) * 5}
    study = plant(folder, networks=networks, seeds=[0, 1, 2], epochs=3, accuracies=ACCURACIES)
    write(study, folder)
    return folder, study


@pytest.fixture(scope="module")
def told(written):
    """The same report, composed from the files that it was written from."""
    folder, study = written
    labels = np.load(folder / "processed/test_labels.npy")
    whole, by_image = predictions.read_predictions(study, folder / "runs", labels)
    scores = comparisons.score(whole, REPORT.target_accuracy)
    both = scores, comparisons.compare(whole, scores, REPORT, by_image)
    return composed_of(study, both, COUNTS, config_of(study, folder))


def read(folder, name):
    return (folder / "reports" / name).read_text(encoding="utf-8")


def section(told, title):
    (found,) = (each for each in told.sections if each.title == title)
    return found


def lines_of(section):
    """Every sentence of a section that is not a caption."""
    texts = [block for block in section.blocks if isinstance(block, report.Text)]
    return [line for block in texts for line in block.lines]


def grids_of(told, title):
    return [block for block in section(told, title).blocks if isinstance(block, report.Grid)]


# --- The files ---------------------------------------------------------------------------------


def test_the_planted_numbers_stand_in_every_output(written):
    folder, _ = written
    summary = pd.read_csv(folder / "reports/summary.csv")
    lines = read(folder, "report.md").splitlines()
    for row in summary.to_dict("records"):
        start = (
            f"| {row['network']} | {row['activation']} | {100 * row['test_accuracy_mean']:.2f} %"
        )
        line = next(line for line in lines if line.startswith(start))
        assert f"| {row['test_loss_mean']:.4f} | {row['epochs_to_target_mean']:.1f}" in line
    row = csvs.where(summary, activation="sigmoid", network="mlp").to_dict("records")[0]
    expected = share_interval(ACCURACIES["sigmoid", "mlp"], 0.95)
    found = [row[f"test_accuracy_{key}"] for key in ("mean", "ci_low", "ci_high")]
    assert found == pytest.approx([0.9706, expected.low, expected.high])
    interval = f"{100 * expected.low:.2f} to {100 * expected.high:.2f}"
    assert f"| mlp | sigmoid | 97.06 % | {interval} |" in read(folder, "report.md")
    assert f"<td>{interval}</td>" in read(folder, "report.html")
    metrics = json.loads(read(folder, "metrics.json"))
    assert metrics["sigmoid/mlp %"] == round(100 * row["test_accuracy_mean"], 6)


def test_every_figure_has_its_files_and_its_table(written):
    folder, study = written
    reports = folder / "reports"
    names = {path.stem for path in (reports / "figures").iterdir()}
    assert len(names) == 16
    for name in names:
        for path in (f"figures/{name}.png", f"figures/{name}.svg", f"tables/{name}.csv"):
            assert (reports / path).stat().st_size > 0
    assert len(list((reports / "plots").iterdir())) == 5
    links = re.findall(r"\]\(([^)]+)\)", read(folder, "report.md"))
    assert len(links) == 17 + 16 + 2  # the figure of the first screen, all differences
    assert [link for link in links if not (reports / link).is_file()] == []
    for name, table in (
        ("first_layer_ratios", layer_summaries.first_layer_ratios(study, 0.95)),
        ("layer_factors", layer_summaries.layer_factors(study, 0.95)),
        ("kernel_times", layer_summaries.kernel_times(study, 0.95)),
        ("born_dead", study.born_dead),
        ("mean_field", study.mean_field),
    ):
        written_table = pd.read_csv(reports / f"tables/{name}.csv")
        assert written_table.shape == table.shape, name


def test_the_page_needs_nothing_else_and_describes_every_image(written):
    folder, _ = written
    html = read(folder, "report.html")
    page = Page(html)
    assert len(html) < 2.5e6
    assert not re.search(r"//cdn|@import|url\(", html.partition("<script")[0])
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object"} == set()
    assert all("src" not in attributes for attributes in page.attributes("script"))
    policy = next(each for each in page.attributes("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    images = page.attributes("img")
    assert len(images) == 17
    for image in images:
        assert re.match(r"data:image/(png|svg\+xml);base64,", image["src"])
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 100
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    boxes = [each["aria-labelledby"] for each in page.attributes("div") if "tabindex" in each]
    assert len(boxes) == len(set(boxes)) > len(images)
    assert set(boxes) <= set(ids)
    links = {attributes["href"] for attributes in page.attributes("a")}
    runs = {link for link in links if link.startswith(report.MLFLOW)}
    assert report.run_link("relu/mlp") in runs
    for link in links - runs:
        name = link.removeprefix("#")
        assert name in ids if name != link else (folder / "reports" / link).is_file(), link
    # What reproduces it.
    for text in ("Seeds 0, 1, 2", f"numpy {np.__version__}", "Command make repro"):
        assert text in page.text


@pytest.fixture(scope="module")
def drawn(written):
    """The charts in the page, by the paths of their figures."""
    html = read(written[0], "report.html")
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_every_chart_is_one_that_vega_takes(written, drawn):
    folder, study = written
    assert len(drawn) == 10
    for path, chart in drawn.items():
        assert (folder / "reports" / path).is_file()
        assert list(chart["views"]) == study.networks
        for spec in chart["views"].values():
            svg = vl_convert.vegalite_to_svg(spec | {"width": 300})
            assert svg.count('aria-roledescription="') > 0
            # A name is a value: in an expression it would be code.
            expressions = re.findall(r'"(?:filter|calculate|test|expr)": "(.*?)"', json.dumps(spec))
            assert not [each for each in expressions if "relu" in each or "mlp" in each]


def test_both_renderings_say_the_same(written, told):
    text, markdown = page_of(told).text, read(written[0], "report.md")
    for each in told.sections:
        assert each.title in text
        for line in lines_of(each):
            assert line in text
            assert report.markdown(line) in markdown


def test_a_second_report_is_the_same_but_for_times(tmp_path):
    def slower(parts):
        if "timings" in parts:  # not of the first seed, of which the timed blocks are made
            parts["timings"].loc[parts["timings"]["seed"] > 0, "epoch_seconds"] *= 3
            parts["timings"]["models_at_once"] = 1

    outputs = []
    for changed in (lambda parts: None, slower):
        folder = tmp_path / str(len(outputs))
        planted = plant(folder, ["relu"], {"mlp": (8,)}, seeds=[0, 1], epochs=2, changed=changed)
        write(planted, folder)
        files = [path for path in (folder / "reports").rglob("*") if path.is_file()]
        outputs.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    one, other = outputs
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == {"reports/summary.csv"}


def test_results_that_are_missing_leave_the_report_as_it_was(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (8,)}, seeds=[0, 1], epochs=2)
    (tmp_path / "runs/relu-mlp/models/model.json").unlink()
    (tmp_path / "reports").mkdir()
    with pytest.raises(UserError, match=r"model.json is missing: run `dvc repro`"):
        write_report(config_of(study, tmp_path))
    assert list((tmp_path / "reports").iterdir()) == []


def test_a_figure_is_embedded_small_and_looks_the_same(written):
    file = written[0] / "reports/figures/accuracy_curves.png"
    small = report.embed(file)
    head, _, text = small.uri.partition(",")
    assert head == "data:image/png;base64"
    content = base64.b64decode(text)
    assert len(content) < len(file.read_bytes()) / 2
    pictures = [Image.open(each).convert("RGB") for each in (file, io.BytesIO(content))]
    assert small.width == round(pictures[0].width * 0.64)
    apart = np.abs(np.subtract(*(np.asarray(each, dtype=int) for each in pictures)))
    assert apart.mean() < 1  # of 255
    assert np.quantile(apart, 0.999) < 24


# --- What it says ------------------------------------------------------------------------------


def test_divergence_and_dead_networks_are_reported_and_marked(tmp_path):
    change = all_of(
        spoil("history", "val_loss", math.nan, activation="tanh", seed=1, epoch=2),
        spoil("test", "test_loss", math.nan, activation="tanh", seed=1),
        spoil("gradients", "value", 0.0, activation="relu", layer=["hidden_1", "hidden_2"]),
    )
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4, 4)}, epochs=2, changed=change)
    told = composed(study, tmp_path)
    page, markdown = page_of(told).text, report.render_markdown(told)
    assert page.count("comparisons leave the pair undecided): mlp, tanh with seed 1.") == 1
    (results,) = told.sections[0].blocks
    assert isinstance(results, report.Grid)
    marked = [row[1] for row in results.rows if any(cell.endswith(" *") for cell in row)]
    assert marked == ["tanh"]
    assert "* " in results.caption
    assert re.search(r"^\| mlp \| tanh \|.*\| n/a \|", markdown, re.MULTILINE)


def test_without_divergence_nothing_is_marked(told):
    text = page_of(told).text
    assert "*" not in text
    assert "diverged" not in text


def test_every_network_shows_its_units_and_parameters(tmp_path):
    networks = {"mlp": (128, 64), "none": ()}
    study = plant(tmp_path, ["relu", "tanh"], networks, seeds=[0], epochs=1)
    (line,) = lines_of(section(composed(study, tmp_path), "Data and networks"))
    named = "mlp (784-128-64-10, 109,386 parameters) and none (784-10, 7,850 parameters)."
    assert line.endswith(named)


def test_one_seed_has_no_uncertainty_and_no_order(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[7], epochs=1)
    text = page_of(composed(study, tmp_path)).text
    for words in ("(one seed, no interval)", "There is one seed, 7", "n/a"):
        assert words in text
    assert not re.search(r"\bnan\b|None|better than", text)


def test_the_report_says_what_validation_was(told, tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=1)
    held_out = page_of(composed(study, tmp_path, validation_size=5000)).text
    assert "Validation is on held-out training images." in held_out
    for words in ("Validation is on the test images.", "Validation uses the test images"):
        assert words in page_of(told).text
        assert words not in held_out


def test_the_claims_are_those_of_the_table(written):
    folder, _ = written
    table = tables.read_table(folder / "reports/claims.csv", tables.CLAIMS)
    html, markdown = read(folder, "report.html"), read(folder, "report.md")
    primary: Any = table[table["role"] == "primary"]
    for text in (Page(html).text, markdown):
        for verdict, count in primary["verdict"].value_counts().items():
            assert f"{count} {write_verdict(verdict)}" in text
    badge = r'<span class="badge ([a-z-]+)">[^<]*</span>(.*?)</(?:p|summary)>'
    entries = re.findall(badge, html, re.S)
    shown = [" ".join(unescape(re.sub(r"<[^>]*>", "", text)).split()) for _, text in entries]
    lines = [line for line in markdown.splitlines() if re.match(r"\| .* \| .* \| .* \|$", line)]
    before = ""
    for row in table.to_dict("records"):
        claim, verdict, numbers = (row[key] for key in ("claim", "verdict", "numbers"))
        is_primary = row["role"] == "primary"
        before = claim if is_primary else before
        claim = claim if is_primary else drop_shared_part(claim, before)
        place = shown.index(claim if is_primary else f"{claim}: {numbers}".replace("\u00a0", " "))
        assert entries[place][0] == verdict.replace(" ", "-")
        claim, numbers = map(report.markdown, (claim, numbers))
        expected = f"| {claim} | **{verdict}** |" if is_primary else f"| ↳ {claim} | {verdict} |"
        assert f"{expected} {numbers} |" in lines


def test_comparisons_have_one_row_per_pair_and_one_column_per_metric(written, told):
    blocks = section(told, "Comparisons").blocks
    grid = next(block for block in blocks if isinstance(block, report.Fold)).block
    table = pd.read_csv(written[0] / "reports/comparisons.csv")
    assert len(grid.rows) == 2 * 3
    for shown in grid.rows:
        pair = dict(zip(("network", "first", "second"), shown[:3], strict=True))
        for row in where(table, **pair).to_dict("records"):
            title = METRICS[row["metric"]].title.capitalize()
            title = title.replace("nll", "NLL")
            cell = shown[grid.header.index(title)]
            needed = f" ({row['pairs_needed']:,.0f})" if row["pairs_needed"] > 0 else ""
            assert cell == f"{difference_text(row['metric'], row)}: {row['verdict']}{needed}"


def test_a_matrix_shows_every_pair_from_both_sides(told, written):
    matrices = [
        block for block in section(told, "Comparisons").blocks if isinstance(block, report.Matrix)
    ]
    table = pd.read_csv(written[0] / "reports/comparisons.csv")
    assert len(matrices) == len(table[["metric", "network"]].drop_duplicates())
    signs = {"▲": "▼", "▼": "▲"}
    for matrix in matrices:
        for i, j in combinations(range(len(matrix.names)), 2):
            one, other = matrix.cells[i][j], matrix.cells[j][i]
            assert one
            assert other
            assert other.sign == signs.get(one.sign, one.sign)
        assert all(matrix.cells[i][i] is None for i in range(len(matrix.names)))
    accuracy = next(each for each in matrices if each.title == "Test accuracy, on mlp")
    row = where(table, metric="test_accuracy", network="mlp", first="sigmoid", second="tanh")
    cell = accuracy.cells[0][1]
    assert cell
    assert cell.verdict == row["verdict"].item()
    assert cell.difference == f"{100 * row['mean'].item():.2f}".replace("-", "−")


def test_the_first_screen_says_what_is_true_how_sure_and_for_how_many_seeds(told):
    true, sure, seeds = told.conclusion
    assert true.startswith("On mlp ")
    assert "has the highest mean test accuracy" in true
    assert "; on deep " in true
    assert sure.startswith("Every verdict is read from a 95 % interval that holds for all pairs")
    decided = r"\d+ of \d+ comparisons are decided, and, each by itself, \d+ of"
    decided += r" the teaching notebook's \d+ claims"
    assert re.search(decided, sure)
    assert seeds.startswith("That is for 3 seeds of each configuration (0 to 2), a number")
    assert all(word in told.words for word in ("Negligible", "Equivalent", "Undecided"))
    assert told.lead
    for panel in told.lead.panels:
        assert [bar.verdict for bar in panel.bars].count("best") == 1
        for bar in panel.bars:
            assert 0 <= bar.low <= bar.mean <= bar.high <= 100


def test_the_report_is_short(written):
    assert len(read(written[0], "report.md").split()) < 4000


def test_the_times_of_a_layer_are_those_of_the_table(written):
    # A tenth more than sigmoid, in the geometric mean of four blocks: 100 · 1.1 · 1.5 ^ 1.5.
    assert "\n| forward | tanh | 202 | 1.10 |" in read(written[0], "report.md")


# --- In a browser ------------------------------------------------------------------------------


def see_all(page):
    """Scroll through the page, and wait until every chart is drawn."""
    count = page.locator("[data-chart]").count()
    for place in range(count):
        page.locator("[data-chart]").nth(place).scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelectorAll('.picture.replaced').length == {count}")


def contrast(one, other):
    """The ratio of WCAG 2.2 of two colours as rgb(r, g, b)."""
    levels = []
    for color in (one, other):
        parts = np.array([int(each) for each in re.findall(r"\d+", color)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(levels) + 0.05) / (min(levels) + 0.05)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_the_page_fits_and_asks_for_nothing(written, width, scheme):
    path = written[0] / "reports/report.html"
    with opened(path, width, color_scheme=scheme) as (page, said):
        see_all(page)
        assert page.locator(".plot svg").count() == 20
        assert page.locator(".picture.replaced").count() == 10
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = page.evaluate(
            "[getComputedStyle(document.querySelector('.chart')).backgroundColor,"
            " getComputedStyle(document.querySelector('.plot svg .role-axis-label text'))"
            ".fill]"
        )
        assert contrast(paper, ink) > 4.5
        assert said == []


def paths_of(page, path):
    """The lines that a chart draws in its first view."""
    plot = page.locator(f'[data-chart="{path}"] .plot').first
    return plot.evaluate(
        "each => [...each.querySelectorAll('.mark-line path')].map(path => path.getAttribute('d'))"
    )


def under_the_pointer(page):
    """What a point of the accuracy in its first view tells, by title."""
    plot = page.locator('[data-chart="figures/accuracy_curves.png"] .plot').first
    plot.locator(".mark-symbol path").last.hover()
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    cells = tip.locator("td").all_inner_texts()
    return dict(zip(cells[::2], cells[1::2], strict=True))


def test_charts_answer_pointer_choice_and_slider(written):
    folder, study = written
    with opened(folder / "reports/report.html", 1200) as (page, said):
        see_all(page)
        told = under_the_pointer(page)
        row = where(
            pd.read_csv(folder / "reports/tables/accuracy_curves.csv"),
            network="mlp",
            activation=told["activation"],
            split=told["split"],
            epoch=int(told["epoch"]),
        ).iloc[0]
        accuracy = f"{row['mean']:.2%} ({row['low']:.2%} to {row['high']:.2%})"
        assert told["Accuracy (interval)"] == accuracy
        gradients = "figures/gradient_through_training.png"
        before = paths_of(page, gradients)
        assert len(before) == len(study.activations)
        page.locator("#choose label", has_text="tanh").locator("input").uncheck()
        page.wait_for_timeout(200)
        assert len(paths_of(page, gradients)) == len(before) - 1
        page.locator(f'[data-chart="{gradients}"] input[type=range]').focus()
        page.keyboard.press("End")
        page.wait_for_timeout(200)
        after = paths_of(page, gradients)
        assert page.locator(f'[data-chart="{gradients}"] output').inner_text() == str(study.epochs)
        assert len(after) == len(before) - 1
        assert not set(after) & set(before)
        claim = page.locator(".claims summary").first
        claim.focus()
        page.keyboard.press("Enter")
        assert page.locator(".claims details").first.evaluate("each => each.open")
        assert said == []


def test_a_point_of_one_seed_tells_that_it_has_no_interval(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[7], epochs=3)
    write(study, tmp_path)
    with opened(tmp_path / "reports/report.html", 1200) as (page, said):
        see_all(page)
        told = under_the_pointer(page)
        assert re.fullmatch(r"\d+\.\d\d% \(none\)", told["Accuracy (interval)"])
        assert said == []


def test_a_link_leads_to_its_section_though_charts_are_drawn_on_the_way(written):
    top = "document.getElementById('limits').getBoundingClientRect().top"
    with opened(written[0] / "reports/report.html", 1440) as (page, said):
        page.locator('nav a[href="#limits"]').click()
        page.wait_for_function(
            "document.querySelectorAll('.picture.replaced').length >= 3"
            f" && {top} >= -1 && {top} < 100"
        )
        page.wait_for_timeout(1500)  # what is drawn below does not move it
        assert -1 <= page.evaluate(top) < 100
        assert said == []


@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_and_without_scripts_every_figure_is_there(written, scripts):
    path = written[0] / "reports/report.html"
    with opened(path, 1200, java_script_enabled=scripts) as (page, said):
        if scripts:
            see_all(page)
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            page.emulate_media(media="print")
            primary = [claim for claim in CLAIMS if claim.role == "primary"]
            assert page.locator(".claims details[open]").count() == len(primary)
        assert page.locator(".picture:visible").count() == 17
        assert page.locator(".chart:visible").count() == 0
        assert said == []

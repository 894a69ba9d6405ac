import base64
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from actlab.activations.definitions.definitions import ACTIVATIONS
from actlab.data.config import DataConfig
from actlab.models.config import ModelConfig
from actlab.probes.config import TheoryConfig, TimingConfig
from actlab.training.trainer.config import TrainingConfig
from browser import opened
from PIL import Image
from planted import (
    REPORT,
    activations_of,
    compared,
    composed_of,
    configured,
    plant,
)
from scipy import stats

from actlab.data.datasets import Split, Splits, save_processed
from actlab.errors import UserError
from actlab.evidence import comparisons, summaries, wording
from actlab.evidence.claims import CLAIMS, VERDICTS
from actlab.probes import metadata, theory
from actlab.reporting import figures, layer_sections, look, report
from actlab.results import tables
from actlab.results.tables import where
from actlab.stages.report import report as write_report

VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """An HTML page whose tags are closed in order; its tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

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
        training=TrainingConfig(study.epochs, 128, 0.001, [0, 1, 2, 5, 10]),
        timing=TimingConfig(3, 2, 16, 5, 100),
        theory=TheoryConfig(["glorot_uniform", "matched"], 16, 4, 8, [0, 1]),
    )


def counts():
    rows = [("train", label, 6) for label in range(10)] + [
        ("test", label, 1) for label in range(10)
    ]
    return pd.DataFrame(rows, columns=list(tables.CLASS_COUNTS))


def composed(study, folder, **changes):
    """The report of a study, by its files where `prepare` has written them."""
    both = compared(study)
    if (folder / "processed/test_labels.npy").exists():
        labels = np.load(folder / "processed/test_labels.npy")
        whole, by_image = comparisons.read_predictions(study, folder / "results", labels)
        scores = comparisons.score(whole, REPORT.target_accuracy)
        both = scores, comparisons.compare(whole, scores, REPORT, by_image)
    config = config_of(study, folder, **changes)
    study = replace(study, has_held_out=config.data.validation_size > 0)
    return composed_of(study, both, counts(), config)


def page_of(composed):
    pixel = report.Image("data:image/png;base64,AAAA", 1, 1)
    html = report.render_html(composed, {each.path: pixel for each in composed.pictures})
    return Page(html)


def prepare(study, folder):
    """Write what the report needs beside results: models and what preprocess reports."""
    for network, name in study.identities():
        path = folder / f"models/{name}-{network}/model.json"
        path.parent.mkdir(parents=True)
        activation = {"name": name, "function": name, "constants": {}}
        path.write_text(json.dumps({"activation": activation}))
    for described in activations_of(study):
        described.function, described.constants = described.name, {}
        metadata.save(described, None, folder / "results/activations" / described.name)
    images = np.zeros((10, 28, 28), dtype=np.uint8)
    sample = figures.plot_sample_images(images, np.arange(10), [str(at) for at in range(10)])
    look.save_figure(sample, folder / "reports/data/sample_images")
    tables.write_frame(counts(), folder / "reports/data/class_counts.csv")
    rng = np.random.default_rng(0)
    split = Split(np.zeros((30, 4), np.float32), np.arange(30, dtype=np.int32) % 10)
    save_processed(Splits(split, None, split), folder / "processed", {})
    for network, name in study.identities():
        logits: dict[str, Any] = {f"seed-{seed}": rng.normal(size=(30, 10)) for seed in study.seeds}
        np.savez(folder / f"results/{name}-{network}/test.npz", **logits)


ACCURACIES = {
    ("sigmoid", "mlp"): [0.9700, 0.9712, 0.9706],
    ("tanh", "mlp"): [0.9801, 0.9790, 0.9803],
    ("relu", "mlp"): [0.9804, 0.9789, 0.9803],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a whole report of planted results, and the study."""
    folder = tmp_path_factory.mktemp("study")
    study = plant(
        folder,
        networks={"mlp": (8, 8), "deep": (8,) * 5},
        seeds=[0, 1, 2],
        epochs=3,
        accuracies=ACCURACIES,
    )
    prepare(study, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actlab.tracking.publish_study.log_report", lambda config, reports: None)
        write_report(config_of(study, folder))
    return folder, study


def read(folder, name):
    return (folder / "reports" / name).read_text(encoding="utf-8")


def test_the_planted_numbers_stand_in_every_output(written):
    folder, _ = written
    summary = pd.read_csv(folder / "reports/summary.csv")
    row = tables.where(summary, activation="sigmoid", network="mlp").to_dict("records")[0]
    expected = stats.ttest_1samp(ACCURACIES["sigmoid", "mlp"], 0).confidence_interval(0.95)
    assert row["test_accuracy_mean"] == pytest.approx(0.9706)
    assert row["test_accuracy_ci_low"] == pytest.approx(expected.low)
    cells = ["97.06 %", f"{100 * expected.low:.2f} to {100 * expected.high:.2f}"]
    assert f"| mlp | sigmoid | {' | '.join(cells)} |" in read(folder, "report.md")
    html = read(folder, "report.html")
    for cell in cells:
        assert f"<td>{cell}</td>" in html
    metrics = json.loads(read(folder, "metrics.json"))
    assert metrics["sigmoid/mlp %"] == round(100 * row["test_accuracy_mean"], 6)
    assert "seconds" not in json.dumps(metrics)


def test_every_number_of_the_results_comes_from_the_summary(written):
    folder, _ = written
    summary = pd.read_csv(folder / "reports/summary.csv")
    lines = read(folder, "report.md").splitlines()
    for row in summary.to_dict("records"):
        start = (
            f"| {row['network']} | {row['activation']} | {100 * row['test_accuracy_mean']:.2f} %"
        )
        line = next(line for line in lines if line.startswith(start))
        assert f"| {row['test_loss_mean']:.4f} | {row['epochs_to_target_mean']:.1f}" in line
        assert f" | {row['epoch_seconds_median']:.3f} |" in line
        assert wording.written(row["gradient_first_layer_notebook"], 3) in line


def test_the_page_needs_nothing_else_and_speaks_of_every_image(written):
    folder, _ = written
    html = read(folder, "report.html")
    page = Page(html)
    assert len(html) < 6e6
    assert not re.search(r"//cdn|@import|url\(", html.partition("<script")[0])
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object"} == set()
    assert all("src" not in attributes for attributes in page.attributes("script"))
    policy = next(each for each in page.attributes("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    images = page.attributes("img")
    assert len(images) == 17
    for attributes in images:
        assert attributes["src"].startswith(
            ("data:image/png;base64,", "data:image/svg+xml;base64,")
        )
        assert len(attributes["alt"]) > 20
        assert int(attributes["width"]) > 100
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    boxes = [attributes for attributes in page.attributes("div") if "tabindex" in attributes]
    names = [attributes["aria-labelledby"] for attributes in boxes]
    assert len(names) == len(set(names)) > len(images)
    assert set(names) <= set(ids)
    links = {attributes["href"] for attributes in page.attributes("a")}
    runs = {link for link in links if link.startswith(report.MLFLOW)}
    assert report.run_link("relu/mlp") in runs
    for link in links - runs:
        if link.startswith("#"):
            assert link.removeprefix("#") in ids
        else:
            assert (folder / "reports" / link).is_file(), link


def test_the_page_says_what_reproduces_it(written, root):
    folder, _ = written
    text = Page(read(folder, "report.html")).text
    assert "Seeds 0, 1, 2" in text
    assert f"numpy {np.__version__}" in text
    assert "Command make repro" in text


def test_every_chart_is_one_that_vega_takes(written):
    folder, _ = written
    html = read(folder, "report.html")
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.S)
    assert found
    drawn = json.loads(found[1])
    assert len(drawn) == 12
    for path, chart in drawn.items():
        assert (folder / "reports" / path).is_file()
        for view in chart["views"]:
            svg = vl_convert.vegalite_to_svg(view["spec"] | {"width": 300})
            assert svg.count('aria-roledescription="') > 0
            # A name is a value: in an expression it would be code.
            expressions = re.findall(
                r'"(?:filter|calculate|test|expr)": "(.*?)"', json.dumps(view["spec"])
            )
            assert not [each for each in expressions if "relu" in each or "mlp" in each]


def test_markdown_links_files_that_are_there(written):
    folder, _ = written
    links = re.findall(r"\]\(([^)]+)\)", read(folder, "report.md"))
    assert len(links) == 17 + 16
    for link in links:
        assert (folder / "reports" / link).is_file(), link


def test_both_renderings_say_the_same(written):
    folder, study = written
    text = page_of(composed(study, folder)).text
    for section in composed(study, folder).sections:
        assert section.title in text
        for block in section.blocks:
            if isinstance(block, report.Text):
                for line in block.lines:
                    assert line in text
                    assert report.markdown(line) in read(folder, "report.md")


def test_every_figure_has_its_files_and_its_table(written):
    folder, _ = written
    names = {path.stem for path in (folder / "reports/figures").iterdir()}
    assert len(names) == 16
    for name in names:
        for path in (f"figures/{name}.png", f"figures/{name}.svg", f"tables/{name}.csv"):
            assert (folder / "reports" / path).stat().st_size > 0
    assert (folder / "reports/data/class_counts.csv").is_file()
    assert len(list((folder / "reports/plots").iterdir())) == 5


def test_a_second_report_is_the_same_but_for_times(tmp_path, monkeypatch):
    monkeypatch.setattr("actlab.tracking.publish_study.log_report", lambda config, reports: None)
    once, again = tmp_path / "once", tmp_path / "again"

    def slower(parts):
        if "timings" in parts:  # not of the first seed, of which the timed blocks are made
            parts["timings"].loc[parts["timings"]["seed"] > 0, "epoch_seconds"] *= 3
            parts["timings"]["models_at_once"] = 1

    outputs = {}
    for folder, changed in ((once, lambda parts: None), (again, slower)):
        planted = plant(folder, ["relu"], {"mlp": (8,)}, seeds=[0, 1], epochs=2, changed=changed)
        prepare(planted, folder)
        write_report(config_of(planted, folder))
        outputs[folder] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in (folder / "reports").rglob("*")
            if path.is_file()
        }
    assert outputs[once].keys() == outputs[again].keys()
    differ = {name for name, content in outputs[once].items() if outputs[again][name] != content}
    assert differ == {
        "reports/report.html",
        "reports/report.md",
        "reports/summary.csv",
        "reports/figures/epoch_seconds.png",
        "reports/figures/epoch_seconds.svg",
        "reports/tables/epoch_seconds.csv",
    }
    write_report(config_of(planted, again))
    for name, content in outputs[again].items():
        assert (again / name).read_bytes() == content, name


def test_results_that_are_missing_leave_the_report_as_it_was(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (8,)}, seeds=[0, 1], epochs=2)
    (tmp_path / "reports").mkdir()
    with pytest.raises(UserError, match=r"model.json is missing: run `dvc repro`"):
        write_report(config_of(study, tmp_path))
    assert list((tmp_path / "reports").iterdir()) == []


def test_names_are_text_and_not_markup(tmp_path):
    study = plant(tmp_path, ["relu", "<b>x|y*z"], {"<i>": (4,)}, seeds=[0, 1], epochs=1)
    said = composed(study, tmp_path)
    page = page_of(said)
    assert not {tag for tag, _ in page.tags} & {"b", "i"}
    assert "<b>x|y*z" in page.text
    assert any("<b>x|y*z" in attributes["alt"] for attributes in page.attributes("img"))
    markdown = report.render_markdown(said)
    assert r"| \<i\> | \<b\>x\|y\*z |" in markdown
    assert "<b>" not in markdown


def lines_of(section):
    """Every sentence of a section that is not a caption."""
    return [
        line for block in section.blocks if isinstance(block, report.Text) for line in block.lines
    ]


def test_no_fact_is_told_twice_below_the_answer(written):
    folder, study = written
    said = composed(study, folder)
    by_title = {section.title: lines_of(section) for section in said.sections}
    below = [line for lines in by_title.values() for line in lines]
    assert len(set(below)) == len(below)
    assert len(set(said.answer)) == len(said.answer)
    conclusion = by_title.pop("Conclusion")
    assert 2 <= len(conclusion) <= 5
    elsewhere = " ".join([*said.answer, *(line for lines in by_title.values() for line in lines)])
    for line in conclusion:
        for sentence in re.split(r"(?<=[.:;]) ", line):
            assert sentence.rstrip(".:;") not in elsewhere


def test_divergence_is_said_once_and_marked_in_the_table(tmp_path):
    def change(parts):
        if "history" in parts and set(parts["layers"]["activation"]) == {"tanh"}:
            late = (parts["history"]["seed"] == 1) & (parts["history"]["epoch"] > 1)
            parts["history"].loc[late, ["loss", "val_loss"]] = math.nan

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=2, changed=change)
    said = composed(study, tmp_path)
    page = page_of(said).text
    assert page.count("counted as measured: mlp, tanh with seed 1.") == 1
    assert sum("iverged" in line for line in said.answer) == 1
    for section in said.sections:
        assert not any("diverged" in line for line in lines_of(section))
    (results,) = said.sections[0].blocks
    assert isinstance(results, report.Grid)
    marked = [row[1] for row in results.rows if any(cell.endswith(" *") for cell in row)]
    assert marked == ["tanh"]
    assert "* " in results.caption
    for text in (page, report.render_markdown(said)):
        assert "% *" in text or r"% \*" in text


def test_without_divergence_nothing_is_marked(written):
    folder, study = written
    assert "*" not in page_of(composed(study, folder)).text
    assert "diverged" not in page_of(composed(study, folder)).text


def test_every_network_shows_the_sum_of_its_parameters(tmp_path):
    networks = {"mlp": (128, 64), "none": ()}
    study = plant(tmp_path, ["relu", "tanh"], networks, seeds=[0], epochs=1)
    said = composed(study, tmp_path)
    (section,) = (section for section in said.sections if section.title == "Networks")
    grids = [block for block in section.blocks if isinstance(block, report.Grid)]
    assert [grid.rows[-1] for grid in grids] == [
        ("total", "", "", "", "109,386"),
        ("total", "", "", "", "7,850"),
    ]
    assert len(grids[0].rows) == 3 + 1


def test_the_tables_behind_the_sentences_are_written(written):
    folder, study = written
    ratios = pd.read_csv(folder / "reports/tables/first_layer_ratios.csv")
    assert len(ratios) == 2 * 2 * 3
    factors = pd.read_csv(folder / "reports/tables/layer_factors.csv")
    assert set(factors["network"]) == {"deep"}
    assert factors["geometric_mean"].tolist() == pytest.approx(
        summaries.layer_factors(study, 0.95)["geometric_mean"].tolist()
    )


def test_what_a_mean_is_of_gradients_is_said_wherever_one_stands(written):
    folder, study = written
    said = composed(study, folder)
    (results,) = said.sections[0].blocks
    assert isinstance(results, report.Grid)
    assert "arithmetic mean" in results.caption
    picture = next(each for each in said.pictures if "gradient_first_layer" in each.path)
    assert "geometric mean" in picture.caption
    assert "geometric mean" in picture.alt
    first = summaries.first_layer_gradients(study, 0.95)
    for value in first["geometric_mean"]:
        assert wording.written(value) in picture.alt
    for name in ("gradient_by_layer", "gradient_through_training"):
        assert "arithmetic" in next(each for each in said.pictures if name in each.path).caption


def test_what_is_said_changes_with_the_tables(tmp_path):
    """No number of the report is a constant: other tables, other numbers."""

    def other(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            table["value"] **= 1.1
            table.loc[table["statistic"] == "dead_fraction", "value"] *= 2
            table.loc[table["statistic"] == "one_sign_fraction", "value"] *= 0.9
        elif "updates" in parts:
            parts["updates"]["update_ratio"] *= 7.3
            parts["timings"]["epoch_seconds"] *= 7.3
            parts["timings"]["compile_seconds"] *= 7.3
            parts["test"]["test_accuracy"] = 1 - 7.3 * (1 - parts["test"]["test_accuracy"])
            parts["test"]["test_loss"] *= 7.3
            parts["history"]["val_accuracy"] = 1 - (1 - parts["history"]["val_accuracy"]) / 4

    def other_theory(ratios):
        ratios[["predicted", "ratio"]] *= 1.013

    def other_timing(parts):
        kernels, matched = parts["kernels"], parts["matched"]
        kernels["seconds"] **= 1.03
        matched.loc[matched["initializer"] == "matched", "gradient_norm"] **= 1.2

    texts = []
    for name, *changes in (
        ("one", lambda parts: None, lambda ratios: None, lambda parts: None),
        ("other", other, other_theory, other_timing),
    ):
        study = plant(
            tmp_path / name,
            networks={"mlp": (4,)},
            epochs=2,
            changed=changes[0],
            theory_changed=changes[1],
            timing_changed=changes[2],
        )
        said = composed(study, tmp_path / name)
        by_title = {section.title: lines_of(section) for section in said.sections}
        configured = by_title["How it was measured"] + by_title["What this cannot say"]
        texts.append(
            [
                line
                for line in [*said.answer, *(each for at in said.sections for each in lines_of(at))]
                if re.search(r"\d\.\d", line) and line not in configured
            ]
        )
    one, other_lines = texts
    assert len(one) > 6
    # A loss curve's lowest epoch has no decimals; every other sentence has other numbers.
    assert not set(one) & set(other_lines)


def dead_relus(parts):
    if "gradients" in parts:
        table = parts["gradients"]
        table.loc[(table["activation"] == "relu") & (table["layer"] != "output"), "value"] = 0.0


def all_lost(parts):
    if "gradients" in parts:
        parts["gradients"]["value"] = math.nan
    else:
        parts["history"][["loss", "val_loss"]] = math.nan
        parts["test"]["test_loss"] = math.nan


@pytest.mark.parametrize(
    "shape",
    [
        {"activations": ["relu"], "networks": {"none": ()}, "seeds": [3]},
        {"activations": ["relu"], "networks": {"deep": (4,) * 4}, "seeds": [3]},
        {"activations": ["relu", "tanh"], "networks": {"one": (4,)}, "seeds": [3]},
        {"activations": ["relu"], "networks": {"deep": (4,) * 4}, "seeds": [0, 1]},
        {"networks": {"mlp": (4, 4), "deep": (4,) * 5}, "seeds": [0, 1]},
        {"networks": {"deep": (4,) * 5}, "changed": dead_relus},
        {
            "networks": {"deep": (4,) * 5},
            "changed": all_lost,
            "theory_changed": lambda ratios: ratios.__setitem__("ratio", math.nan),
        },
        {"networks": {"deep": (4,) * 5}, "changed": all_lost, "seeds": [1]},
        {
            "activations": list(ACTIVATIONS)[:10],
            "networks": {"none": (), "mlp": (8, 4), "deep": (4,) * 9},
            "seeds": [0, 1, 2],
        },
        {"activations": ["<script>alert(1)</script>", "relu"], "networks": {"a&b": (4, 4)}},
    ],
    ids=[
        "least",
        "one of each",
        "one seed",
        "one activation",
        "two seeds",
        "dead",
        "lost",
        "lost, one seed",
        "most",
        "markup",
    ],
)
def test_a_study_of_any_shape_has_a_right_report(tmp_path, shape):
    study = plant(tmp_path, **({"epochs": 2} | shape))
    said = composed(study, tmp_path)
    page = page_of(said)
    assert not {tag for tag, _ in page.tags} & {"script", "b", "i"}
    for name in (*study.activations, *study.networks):
        assert name in page.text
    markdown = report.render_markdown(said)
    for text in (page.text, markdown):
        assert not re.search(r"\b(nan|inf|None)\b", text)
    assert not re.search(r"(?<!\\)<script", markdown)
    everything = [*said.answer, *(line for each in said.sections for line in lines_of(each))]
    for line in everything:
        assert line[0].isupper() or line.startswith(tuple(study.activations)), line
        assert line.endswith("."), line
        assert "  " not in line
        assert not re.search(r" [,;.:]|,[,;.]|\(\)", line), line
    claims = re.compile(r"is (largest|smallest) with|is shown to be above|shrinks|grows with")
    if len(study.seeds) == 1:
        assert not claims.search(" ".join(everything))
    if len(study.activations) == 1:
        assert not re.search("largest|smallest|highest|shortest", " ".join(said.answer))


def test_one_seed_of_one_activation_is_told_without_uncertainty(tmp_path):
    study = plant(tmp_path, ["relu"], {"none": ()}, seeds=[7], epochs=1)
    text = page_of(composed(study, tmp_path)).text
    assert "On none relu has a test accuracy of" in text
    assert "with one seed no uncertainty can be given" in text
    assert "There is one seed, 7" in text
    assert "n/a" in text
    for word in ("nan", "highest", "shown to be above", "interval nan", "None"):
        assert word not in text


def test_one_seed_shows_no_order(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[7], epochs=1)
    text = page_of(composed(study, tmp_path)).text
    assert "no uncertainty can be given, so no order is shown" in text
    assert "shown to be above" not in text


def test_a_diverged_seed_and_a_dead_network_are_said(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            table.loc[(table["activation"] == "relu") & (table["layer"] != "output"), "value"] = 0.0
        elif set(parts["layers"]["activation"]) == {"tanh"}:
            late = (parts["history"]["seed"] == 1) & (parts["history"]["epoch"] > 1)
            parts["history"].loc[late, ["loss", "val_loss"]] = math.nan
            parts["test"].loc[parts["test"]["seed"] == 1, "test_loss"] = math.nan

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4, 4)}, epochs=2, changed=change)
    text = page_of(composed(study, tmp_path)).text
    assert "counted as measured: mlp, tanh with seed 1." in text
    assert (
        "the gradient of relu in the first layer of mlp is exactly zero with 6 of 6 seeds" in text
    )
    assert "nan" not in text
    rows = report.render_markdown(composed(study, tmp_path)).splitlines()
    assert any(line.startswith("| mlp | tanh |") and "| n/a |" in line for line in rows)


def test_the_report_says_what_validation_was(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=1)
    watched = page_of(composed(study, tmp_path)).text
    assert "The validation curve is that of the test images" in watched
    held_out = page_of(composed(study, tmp_path, validation_size=5000)).text
    assert "Validation is on 5,000 training images held out." in held_out
    assert "The validation curve is that of the test images" not in held_out


def test_a_figure_is_embedded_small_and_looks_the_same(written):
    folder, _ = written
    file = folder / "reports/figures/accuracy_curves.png"
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


def test_the_stage_starts_without_tensorflow_mlflow_and_matplotlib(root: Path):
    code = "import sys, actlab.stages.report; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root / "src", capture_output=True, text=True, check=True
    )
    assert {"tensorflow", "mlflow", "matplotlib"}.isdisjoint(ran.stdout.split())


def test_the_report_holds_the_planted_theory(written):
    folder, _ = written
    markdown = read(folder, "report.md")
    assert (
        "| relu | matched (he_uniform) | backward | 1.00 | 0.909 to 1.10 | 1.02 | yes |" in markdown
    )
    assert "| relu | matched (he_uniform) | 2.00 | 0.500 | 0.500 | 0 | 1.00 | ∞ |" in markdown
    words = ("one", "two", "three", "four")
    assert words.index(layer_sections.BAND.split()[0]) + 1 == theory.BAND_DEVIATIONS
    table = pd.read_csv(folder / "reports/theory.csv")
    assert set(table["agrees"]) == {True}
    assert set(table["layer"]) == {"hidden_2", "hidden_3", "hidden_4", "all"}
    assert len(pd.read_csv(folder / "reports/tables/mean_field.csv")) == 3 * 2


def test_matched_initialisers_are_said(written):
    folder, study = written
    config = config_of(study, folder)
    config.model = ModelConfig("matched")
    said = composed_of(study, compared(study), counts(), config)
    page = page_of(said).text
    assert "trained with the matched initialisers: there is nothing to compare them with" in page
    assert "all activations with one initialiser start from the same weights" in page
    assert page.count("the initialiser that each activation's literature recommends") == 2
    assert "(here it is used)" in page
    assert "(here glorot_uniform is used for all)" in page_of(composed(study, folder)).text


def test_the_ledger_comes_after_the_answer_and_is_that_of_the_table(written):
    folder, study = written
    table = tables.read_table(folder / "reports/claims.csv", tables.CLAIMS)
    assert len(table) == len(CLAIMS)
    html, markdown = read(folder, "report.html"), read(folder, "report.md")
    page = Page(html)
    told = composed(study, folder)
    for text, brief, answer in (
        (page.text, told.brief[0], told.answer[0]),
        (markdown, report.markdown(told.brief[0]), report.markdown(told.answer[0])),
    ):
        assert text.index(brief) < text.index("The notebook's claims") < text.index(answer)
        for verdict in VERDICTS:
            assert f"{table['verdict'].tolist().count(verdict)} {verdict}" in text
    rows = re.findall(r"<li><details>.*?</details></li>", html, re.S)
    lines = [line for line in markdown.splitlines() if re.match(r"\| .* \| \*\*", line)]
    for row, in_html, line in zip(table.to_dict("records"), rows, lines, strict=True):
        cells = [row[key] for key in ("claim", "verdict", "numbers", "section")]
        # The word tells the verdict; its colour and border only repeat it.
        badge = row["verdict"].replace(" ", "-")
        assert f'<span class="badge {badge}">' in in_html
        assert f".{badge} {{ color: var(--" in html
        shown = " ".join(unescape(re.sub(r"<[^>]*>", "", in_html)).split())
        assert shown == (f"{cells[1]} {cells[0]} {cells[2]} In the notebook: {cells[3]}.")
        claim, verdict, *others = map(report.markdown, cells)
        assert line == f"| {' | '.join([claim, f'**{verdict}**', *others])} |"
        assert row["rule"] in page.text
        assert row["measured"] in page.text
    assert "are not adjusted for theirs" in page.text


def test_the_numbers_of_the_ledger_are_the_planted_ones(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            table.loc[table["statistic"] == "dead_fraction", "value"] = 0.0
            late = (table["epoch"] == 2) & (table["activation"] == "relu")
            dead = late & (table["statistic"] == "dead_fraction")
            table.loc[dead, "value"] = 0.125 + 0.01 * table.loc[dead, "seed"]

    accuracies = {("sigmoid", "mlp"): [0.9700, 0.9712, 0.9706, 0.9710]}
    study = plant(
        tmp_path,
        ["sigmoid", "tanh", "relu", "leaky_relu"],
        {"mlp": (128, 64)},
        seeds=range(4),
        epochs=2,
        accuracies=accuracies,
        changed=change,
    )
    said = composed(study, tmp_path)
    assert said.ledger is not None
    numbers = {entry.claim: (entry.verdict, entry.numbers) for entry in said.ledger.entries}
    low, high = stats.ttest_1samp(accuracies["sigmoid", "mlp"], 0).confidence_interval(0.95)
    assert numbers["Sigmoid reaches 97 to 98 % test accuracy"] == (
        "supported",
        f"sigmoid 97.07 % ({100 * low:.2f} to {100 * high:.2f}), after 2 epochs, 4 seeds.",
    )
    low, high = stats.ttest_1samp([12.5, 13.5, 14.5, 15.5], 0).confidence_interval(0.95)
    assert numbers["Units of ReLU die in training"] == (
        "supported",
        "Dead units of relu: 0.00 % before training, 14.00 % after; change 14.00 points"
        f" ({low:.2f} to {high:.2f}), 4 seeds.",
    )
    assert numbers["Leaky ReLU keeps units alive that ReLU loses"][0] == "supported"
    assert numbers["Sigmoid divides the gradient by at least 4 a layer"][0] == "not measured"


def grids_of(composed, title):
    (section,) = (section for section in composed.sections if section.title == title)
    return [block for block in section.blocks if isinstance(block, report.Grid)]


def test_the_report_holds_the_planted_times_of_a_layer(written):
    folder, study = written
    markdown = read(folder, "report.md")
    times = summaries.kernel_times(study, 0.95)
    grid = next(each for each in grids_of(composed(study, folder), "Time") if "µs" in each.header)
    assert len(grid.rows) == len(times) == 3 * 3
    for row, of in zip(grid.rows, times.to_dict("records"), strict=True):
        assert row[:2] == (of["operation"], of["activation"])
        assert row[2] == wording.written(1e6 * of["seconds"], 3)
        assert f"| {' | '.join(row[:4])} |" in markdown
    # sigmoid, tanh, relu: each a tenth more than the one before.
    assert [row[3] for row in grid.rows] == ["1.00", "1.10", "1.21"] * 3
    assert "50 forward, 50 backward and 2,000 elementwise" in grid.caption
    assert "Load of the machine meanwhile: median 0.62, 0.25 to 1.0." in grid.caption
    assert len(pd.read_csv(folder / "reports/tables/kernel_times.csv")) == 9


def test_medians_stand_beside_the_means_of_times(written):
    folder, study = written
    compared_by_file = pd.read_csv(folder / "reports/comparisons.csv")
    rows = tables.where(compared_by_file, metric="epoch_seconds")
    grid = grids_of(composed(study, folder), "Time")[0]
    assert grid.header[-2:] == ("Mean", "Median")
    assert len(grid.rows) == len(rows) == 2 * 3
    for row, of in zip(grid.rows, rows.to_dict("records"), strict=True):
        assert row[-1] == f"× {math.exp(of['median']):.3f}"  # three pairs allow no interval
        assert math.isnan(of["median_low"])
        assert f"× {math.exp(of['mean']):.3f}" in row[-2]


def test_the_interval_of_a_median_is_shown_where_there_is_one(tmp_path):
    study = plant(tmp_path, ["tanh", "relu"], {"mlp": (4,)}, epochs=8)
    (row,) = tables.where(compared(study)[1], metric="epoch_seconds").to_dict("records")
    shown = grids_of(composed(study, tmp_path), "Time")[0].rows[0][-1]
    values = (math.exp(row[key]) for key in ("median", "median_low", "median_high"))
    assert shown == "× {:.3f}, {:.3f} to {:.3f}".format(*values)


def test_what_matched_does_to_the_networks_is_shown(written):
    folder, study = written
    changes = summaries.matched_changes(study, 0.95)
    said = composed(study, folder)
    grid = next(
        each for each in grids_of(said, "Theory and measurement") if "Change" in each.header
    )
    for row, of in zip(grid.rows, changes.to_dict("records"), strict=True):
        assert row[:4] == (of["network"], "relu", "glorot_uniform", "he_uniform")
        for at, name in ((4, "norm"), (7, "factor")):
            assert row[at] == wording.written(of[f"configured_{name}"], 3)
            assert row[at + 1] == wording.written(of[f"matched_{name}"], 3)
            change, *bounds = (of[f"{name}_{key}"] for key in ("change", "low", "high"))
            low, high = (wording.written(bound, 3) for bound in bounds)
            assert row[at + 2] == f"× {wording.written(change, 3)}, {low} to {high}"
    markdown = read(folder, "report.md")
    assert "kernel_initializer: matched under model" in markdown
    assert "| relu | 0.0000 | 1.0000 |" in markdown
    for row in study.born_dead.to_dict("records"):
        assert f"| relu | {row['network']} | {wording.written(row['probability'])} |" in markdown
    for name in ("matched_changes", "moments", "born_dead"):
        assert (folder / f"reports/tables/{name}.csv").is_file()


def test_the_load_is_told_under_which_epochs_were_timed(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (4,), "deep": (4, 4)}, seeds=[0, 1], epochs=2)
    blocks = study.blocks
    blocks["load"] = np.where(blocks["block"] == 1, 0.4, 1.26)
    blocks.loc[blocks["network"] == "deep", "load"] *= 2
    said = composed(study, tmp_path)
    (section,) = (each for each in said.sections if each.title == "Time")
    (line,) = (line for line in lines_of(section) if "Load" in line)
    assert (
        "in an order drawn for the block: the shortest of its 2 epochs counts. Load of the machine"
        " meanwhile: on mlp median 0.83, 0.40 to 1.3; on deep median 1.7, 0.80 to 2.5. The figure"
    ) in line


# --- In a browser -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 800, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_asks_for_nothing(written, width, scheme):
    folder, _ = written
    with opened(folder / "reports/report.html", width, color_scheme=scheme) as (page, said):
        see_all(page)
        assert page.locator(".plot svg").count() >= 24
        assert page.locator(".picture.replaced").count() == 12
        assert page.locator(".of-picture:visible").count() == 0
        assert page.locator(".of-chart:visible").count() == 2
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = page.evaluate(
            "[getComputedStyle(document.querySelector('.chart')).backgroundColor,"
            " getComputedStyle(document.querySelector('.plot svg .role-axis-label text'))"
            ".fill]"
        )
        assert contrast(paper, ink) > 4.5


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


def paths_of(page, path):
    """The lines that a chart draws in its first view."""
    plot = page.locator(f'[data-chart="{path}"] .plot').first
    return plot.evaluate(
        "each => [...each.querySelectorAll('.mark-line path')].map(path => path.getAttribute('d'))"
    )


def test_an_activation_can_be_left_out_and_epochs_stepped_through(written):
    folder, study = written
    with opened(folder / "reports/report.html", 1200) as (page, said):
        see_all(page)
        gradients = "figures/gradient_through_training.png"
        before = paths_of(page, gradients)
        assert len(before) == len(study.activations)
        page.locator("#choose label", has_text="tanh").locator("input").uncheck()
        page.wait_for_timeout(200)
        assert len(paths_of(page, gradients)) == len(before) - 1
        slider = page.locator(f'[data-chart="{gradients}"] input[type=range]')
        slider.focus()
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


def under_the_pointer(page, path):
    """What the middle of a chart's first view tells, by title."""
    plot = page.locator(f'[data-chart="{path}"] .plot').first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    cells = tip.locator("td").all_inner_texts()
    return dict(zip(cells[::2], cells[1::2], strict=True))


def test_a_point_under_the_pointer_tells_its_value(written):
    folder, _ = written
    with opened(folder / "reports/report.html", 1200) as (page, said):
        see_all(page)
        told = under_the_pointer(page, "figures/accuracy_curves.png")
        table = where(
            pd.read_csv(folder / "reports/tables/accuracy_curves.csv"),
            network="mlp",
            activation=told["activation"],
            split=told["split"],
            epoch=int(told["epoch"]),
        )
        assert told["Accuracy"] == f"{100 * table['mean'].item():.2f}%"
        assert told["interval from"] == f"{100 * table['low'].item():.2f}%"
        assert said == []


def test_a_point_of_one_seed_tells_that_it_has_no_interval(tmp_path, monkeypatch):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[7], epochs=3)
    prepare(study, tmp_path)
    monkeypatch.setattr("actlab.tracking.publish_study.log_report", lambda config, reports: None)
    write_report(config_of(study, tmp_path))
    with opened(tmp_path / "reports/report.html", 1200) as (page, said):
        see_all(page)
        told = under_the_pointer(page, "figures/accuracy_curves.png")
        assert re.fullmatch(r"\d+\.\d\d%", told["Accuracy"])
        assert (told["interval from"], told["to"]) == ("none", "none")
        assert said == []


@pytest.mark.parametrize("section", ["gradients", "health-of-the-networks", "conclusion"])
def test_a_link_leads_to_its_section_though_charts_are_drawn_on_the_way(written, section):
    folder, _ = written
    top = f"document.getElementById('{section}').getBoundingClientRect().top"
    with opened(folder / "reports/report.html", 1440) as (page, said):
        page.locator(f'nav a[href="#{section}"]').click()
        page.wait_for_function(
            "document.querySelectorAll('.picture.replaced').length >= 5"
            f" && {top} >= -1 && {top} < 100"
        )
        page.wait_for_timeout(1500)  # what is drawn below does not move it
        assert -1 <= page.evaluate(top) < 100
        assert said == []


def test_on_paper_every_figure_is_there_and_every_claim_open(written):
    folder, _ = written
    with opened(folder / "reports/report.html", 1200) as (page, _):
        see_all(page)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator(".picture:visible").count() == 17
        assert page.locator(".chart:visible").count() == 0
        assert page.locator(".of-picture:visible").count() >= 8
        assert page.locator(".of-chart:visible").count() == 0
        assert page.locator(".claims details[open]").count() == len(CLAIMS)


def test_without_scripts_every_figure_is_there(written):
    folder, _ = written
    with opened(folder / "reports/report.html", 800, java_script_enabled=False) as (page, said):
        assert page.locator(".picture:visible").count() == 17
        assert page.locator(".chart:visible").count() == 0
        assert page.locator(".of-picture:visible").count() >= 8
        assert page.locator(".of-chart:visible").count() == 0
        assert said == []

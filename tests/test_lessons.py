"""The lessons say what the committed study says; what they tell a reader to type is there."""

import doctest
import re
import shlex
import shutil
import subprocess
from contextlib import chdir
from itertools import pairwise, product
from pathlib import Path

import hydra
import pandas as pd
import pytest
import write_lessons
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from studies import read_committed

from actlab.engine import composing
from actlab.schema import Config
from actlab.stages import entry

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/lessons"
PAGES = write_lessons.templates()
LESSONS = [page for page in PAGES if page != "index.md"]

#: What a command in a lesson may begin with, where there is nothing more to look up.
PLAIN = {
    "dvc exp show",
    "dvc exp show --only-changed",
    "dvc exp apply",
    "git checkout HEAD -- params.yaml",
}


@pytest.fixture(params=LESSONS)
def lesson(request):
    """The text of one lesson after the other."""
    return (FOLDER / request.param).read_text()


def pictures(text):
    return re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)


def folds(text):
    return re.findall(
        r"^<details markdown=\"1\">\n(.*?)^</details>$", text, re.DOTALL | re.MULTILINE
    )


def commands(text):
    """Give what a reader is told to type: the lines of plain blocks, and the code that is one."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if not language]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    told = [line for block in blocks for line in block.splitlines()]
    told += re.findall(r"`([^`\n]+)`", prose)
    parts = [part.strip() for line in told for part in line.partition("  #")[0].split(" && ")]
    return [part for part in parts if re.match(r"(make|dvc|git|python -m) \S", part)]


def test_the_lessons_are_there():
    assert [page[:2] for page in LESSONS] == [f"{number:02}" for number in range(1, 8)]
    assert set(PAGES) == {path.name for path in FOLDER.glob("*.md")}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_template_gives_of_the_committed_study(page):
    assert (FOLDER / page).read_text() == write_lessons.render(page), "run make lessons"


def test_every_claim_of_the_ledger_is_in_a_lesson():
    names = pd.read_csv(ROOT / "docs/study/claims.csv")["name"]
    tables = "".join((FOLDER / page).read_text() for page in LESSONS)
    assert [name for name in names if f" `{name}` |\n" not in tables] == []


@pytest.fixture
def study(tmp_path):
    """A copy of the committed study, and what changes the verdict of a claim in it."""
    shutil.copytree(ROOT / "docs/study", tmp_path, dirs_exist_ok=True)

    def turn(name, verdict):
        claims = pd.read_csv(tmp_path / "claims.csv")
        claims.loc[claims["name"] == name, "verdict"] = verdict
        claims.to_csv(tmp_path / "claims.csv", index=False)
        return tmp_path

    return turn


@pytest.mark.parametrize(
    ("page", "name", "verdict"),
    [
        ("02-network.md", "accuracy_relu", "supported"),
        ("03-training-and-time.md", "relu_fastest_epochs_to_target", "supported"),
        ("04-vanishing-gradients.md", "relu_passes_on", "supported"),
        ("05-dying-relu.md", "leaky_relu_mends_deeper", "undecided"),
        ("06-which-activation.md", "grows_with_depth", "refuted"),
        ("07-interview-questions.md", "sigmoid_shrinks", "refuted"),
    ],
)
def test_words_that_a_study_does_not_bear_out_are_refused(page, name, verdict, study):
    with pytest.raises(write_lessons.LessonError, match=f"{page}.jinja: the study does not say"):
        write_lessons.render(page, study(name, verdict))


@pytest.mark.parametrize("verdict", ["refuted", "undecided"])
def test_verdicts_on_times_may_turn(verdict, study):
    name = "sigmoid_slowest_epoch_seconds"
    said = write_lessons.render("03-training-and-time.md", study(name, verdict))
    judged = write_lessons.JUDGED[verdict]
    assert re.search(rf"\| {judged} \(\*\*{verdict}\*\*\) \| [^|]*`{name}` \|", said)


def test_a_row_that_a_study_lacks_is_named(study):
    folder = study("accuracy_tanh", "supported")
    table = pd.read_csv(folder / "born_dead.csv")
    table[table["network"] != "deep"].to_csv(folder / "born_dead.csv", index=False)
    with pytest.raises(write_lessons.LessonError, match=r"born_dead.csv has 0 rows with .*deep"):
        write_lessons.render("05-dying-relu.md", folder)


def constants():
    """The numbers that a template may hold: none of them is measured."""
    params = yaml.safe_load(read_committed(ROOT, "params.yaml"))
    report = params["report"]
    slope = yaml.safe_load(read_committed(ROOT, "conf/activation/leaky_relu.yaml"))["constants"]
    return {
        f"{100 * report['target_accuracy']:g} %",
        f"{100 * report['confidence']:g} %",
        f"{100 * report['equivalence_margin']:g}",  # points
        f"{100 * report['equivalence_margin_ratio']:g} %",
        f"{100 * params['gradients']['saturated_below']:g} %",
        f"{params['gradients']['test_images']:,}",
        f"{params['training']['learning_rate']:g}",
        f"{slope['negative_slope']:g}",
        *("60,000", "10,000", "1,135"),  # of MNIST
        "0.25",  # sigmoid's steepest slope
        *("2.3", "11 %", "1.075", "3.5"),  # ln 10, 1135 / 10000, sqrt(74 / 64), 7 / 2
        *("97.5", "98.5 %", "98 %"),  # the notebook's expectation, and what rounds to it
        *("98.1 %", "97.9 %"),  # of the colleague in question 6
        *("0.999",),  # Adam's
    }


def written_numbers(text):
    """Give decimals, percentages and thousands of a page's or a template's words."""
    text = re.sub(r"\{% filter run %\}.*?\{% endfilter %\}", "", text, flags=re.DOTALL)
    for markup in (r"\{\{.*?\}\}", r"\{%.*?%\}", r"^```.*?^```$", r"`[^`\n]+`", r"\]\([^)]+\)"):
        text = re.sub(markup, "", text, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"\d[\d,]*\.\d+(?: %)?|\d+ %|\d{1,3}(?:,\d{3})+", text))


@pytest.mark.parametrize("page", PAGES)
def test_a_template_holds_no_measured_number(page):
    template = (write_lessons.TEMPLATES / f"{page}.jinja").read_text()
    assert written_numbers(template) - constants() == set()


def test_measured_numbers_are_found(lesson):
    assert len(written_numbers(lesson) - constants()) >= 10


def test_each_lesson_asks_before_it_shows(lesson):
    assert lesson.split("\n")[3].startswith("**The question: ")
    shown = folds(lesson)
    assert len(shown) == lesson.count("<details") >= 1
    for fold in shown:
        # Blank lines make the text inside Markdown, on code-hosting pages and in the site.
        assert re.match(r"<summary>[^<]+</summary>\n\n\S", fold)
        assert fold.endswith("\n\n")
    for before in lesson.split("\n\n<details")[:-1]:
        asked = before.rsplit("\n\n", 1)[-1]
        assert asked.endswith("?*") or (asked.startswith("## ") and asked.endswith("?")), asked
    assert any(re.search(r"\d\.\d", fold) for fold in shown)


def test_each_lesson_ends_with_something_to_try(lesson):
    headings = re.findall(r"^## (.+)$", lesson, re.MULTILINE)
    wanted = ["What the notebook says", "Make it yourself", "Try it"]
    assert [each for each in headings if each in wanted] == wanted
    tried = lesson[lesson.index("## Try it") :]
    assert commands(tried)
    assert re.search(r"\blook\s+(at|for)\b", tried, re.IGNORECASE)
    assert "(../study/claims.csv)" in lesson


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_resolve(page):
    text = (FOLDER / page).read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)
    assert links
    for link in links:
        assert (FOLDER / link).is_file(), link


def test_figures_are_those_of_the_pipeline_and_tell_what_is_seen():
    listed = subprocess.run(["make", "-n", "study"], cwd=ROOT, capture_output=True, text=True)
    copied = set(re.findall(r"\breports/\S+\.(?:png|csv)", listed.stdout))
    shown = {}
    for page in LESSONS:
        for alt, path in pictures((FOLDER / page).read_text()):
            assert len(alt) > 60, path
            shown[(FOLDER / path).resolve().relative_to(ROOT)] = page
    in_folder = {path.relative_to(ROOT) for path in (FOLDER / "figures").iterdir()}
    assert in_folder == {path for path in shown if path.parent.name == "figures"}
    assert {path.name for path in shown} <= {Path(source).name for source in copied}
    sources = ("drawings", "sections", "layer_sections")
    drawn = "".join((ROOT / f"src/actlab/{name}.py").read_text() for name in sources)
    for path in shown:
        assert re.search(rf"\"(figures|data)/{path.name}\"|\"{path.stem}\"", drawn) or (
            path.name.startswith("health_")
        ), path


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """Compose and check a configuration, as a stage does with these arguments."""
    ConfigStore.instance().store("schema", Config)
    folder = tmp_path_factory.mktemp("configured")
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "params.yaml").write_text(read_committed(ROOT, "params.yaml"))

    def composed(overrides):
        with chdir(folder), hydra.initialize_config_dir(str(folder / "conf"), version_base="1.3"):
            given = hydra.compose("config", overrides=[*overrides, "paths.output=elsewhere"])
            return composing.compose(given, entry.SCHEMA, folder)

    return composed


def single(overrides):
    """Give the overrides of each job that a sweep of them has."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in parsed
    ]
    return product(*choices)


def check_command(told, compose):
    """Hold one command to what there is in the repository."""
    first, second, *rest = shlex.split(told)
    if first == "make":
        assert re.search(rf"^{second}:", (ROOT / "Makefile").read_text(), re.MULTILINE), told
    elif (first, second) == ("dvc", "repro"):
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        assert set(rest) <= stages.keys(), told
    elif told.startswith("dvc exp run "):
        compose([value for flag, value in pairwise(rest) if flag == "-S"])
    elif (first, second) == ("python", "-m"):
        package, stage = rest[0].rsplit(".", 1)
        assert package == "actlab.stages"
        assert (ROOT / f"src/actlab/stages/{stage}.py").is_file(), told
        for overrides in single([each for each in rest[1:] if each != "-m"]):
            compose(list(overrides))
    else:
        assert told in PLAIN, told


def test_commands_of_a_lesson_are_there(lesson, compose):
    told = commands(lesson)
    assert len(told) >= 3
    for each in told:
        check_command(each, compose)
    for override in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*=[\w.]+)`", lesson):
        compose([override])


@pytest.mark.parametrize(
    "wrong",
    [
        "make nothing",
        "dvc repro nothing",
        "dvc exp run --temp -S training.epohcs=2",
        "python -m actlab.stages.nothing",
        "python -m actlab.stages.train activation=rulu",
        "python -m actlab.stages.train -m activation=relu,rulu",
        "python -m actlab.stages.train training.epochs=0",
        "git push",
    ],
)
def test_a_wrong_command_is_found(wrong, compose):
    with pytest.raises(Exception, match=r".") as raised:
        check_command(wrong, compose)
    assert raised.type is not NameError


def test_the_examples_of_the_script_hold():
    assert doctest.testmod(write_lessons).failed == 0
    assert doctest.testmod(write_lessons).attempted > 4


def test_the_readme_points_to_the_lessons():
    assert "(docs/lessons/index.md)" in (ROOT / "README.md").read_text()

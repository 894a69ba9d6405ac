"""The lessons say what the committed study says; what they tell a reader to type is there."""

import re
import shlex
import shutil
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


# --- Numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_template_gives_of_the_committed_study(page):
    assert (FOLDER / page).read_text() == write_lessons.render(page), "run make lessons"


def change_table(folder, table, change):
    """Copy the committed study to a folder, with one of its tables changed."""
    shutil.copytree(ROOT / "docs/study", folder, dirs_exist_ok=True)
    change(pd.read_csv(folder / table)).to_csv(folder / table, index=False)
    return folder


def turn(name, verdict):
    """Give what changes the verdict of a claim."""

    def change(claims):
        claims.loc[claims["name"] == name, "verdict"] = verdict
        return claims

    return change


@pytest.mark.parametrize(
    ("page", "name", "verdict"),
    [
        ("02-network.md", "accuracy_relu", "undecided"),
        ("03-training-and-time.md", "sigmoid_slowest_epochs_to_target", "refuted"),
        ("04-vanishing-gradients.md", "relu_passes_on", "supported"),
        ("05-dying-relu.md", "leaky_relu_keeps_alive_deeper", "undecided"),
        ("06-which-activation.md", "grows_with_depth", "refuted"),
        ("07-interview-questions.md", "sigmoid_shrinks", "refuted"),
    ],
)
def test_words_that_a_study_does_not_bear_out_are_refused(page, name, verdict, tmp_path):
    study = change_table(tmp_path, "settled/claims.csv", turn(name, verdict))
    with pytest.raises(write_lessons.LessonError, match=f"{page}.jinja: the study does not say"):
        write_lessons.render(page, study)


# --- Commands ----------------------------------------------------------------------------------

#: What a command in a lesson may begin with, where there is nothing more to look up.
PLAIN = {
    "dvc exp show",
    "dvc exp show --only-changed",
    "dvc exp apply",
    "git checkout HEAD -- params.yaml",
}


def commands(text):
    """Give what a reader is told to type: the lines of plain blocks, and the code that is one."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in fences if not language for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", prose)
    parts = [part.strip() for line in lines for part in line.partition("  #")[0].split(" && ")]
    return [part for part in parts if re.match(r"(make|dvc|git|python -m) \S", part)]


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """Compose and check a configuration, as a stage does with these arguments."""
    ConfigStore.instance().store("schema", Config)
    folder = tmp_path_factory.mktemp("configured")
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "params.yaml").write_text(read_committed(ROOT, "params.yaml"))

    def composed(typed):
        overrides = [composing.expand(each, entry.PROJECT, folder) for each in typed]
        with chdir(folder), hydra.initialize_config_dir(str(folder / "conf"), version_base="1.3"):
            given = hydra.compose("config", overrides=[*overrides, "paths.output=elsewhere"])
            return composing.compose(given, entry.PROJECT, folder)

    return composed


def jobs(overrides):
    """Give the overrides of each job that a sweep of them has."""
    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in OverridesParser.create().parse_overrides(overrides)
    ]
    return product(*choices)


def check_command(told, compose):
    """Check one command against what there is in the repository."""
    first, second, *rest = shlex.split(told)
    if first == "make":
        assert re.search(rf"^{second}:", (ROOT / "Makefile").read_text(), re.MULTILINE), told
    elif (first, second) == ("dvc", "repro"):
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        assert set(rest) <= stages.keys(), told
    elif told.startswith("dvc exp run "):
        compose([value for flag, value in pairwise(rest) if flag == "-S"])
    elif (first, second) == ("python", "-m"):
        path = ROOT / "src" / f"{rest[0].replace('.', '/')}.py"
        assert path.is_file(), told
        for overrides in jobs([each for each in rest[1:] if each != "-m"]):
            compose(list(overrides))
    else:
        assert told in PLAIN, told


@pytest.mark.parametrize("page", LESSONS)
def test_commands_of_a_lesson_are_there(page, compose):
    text = (FOLDER / page).read_text()
    told = commands(text)
    assert len(told) >= 3
    for each in told:
        check_command(each, compose)
    for override in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*=[\w.]+)`", text):
        compose([override])

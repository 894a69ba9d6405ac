"""Studies that add seeds until their verdicts are decided."""

import json
import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import activation_of, configured

import actlab
from actlab.errors import UserError
from actlab.evidence import comparisons, settling
from actlab.evidence.decisions import FIRST_LOOK, STEP
from actlab.evidence.settled import SettledFolder
from actlab.models.config import NetworkConfig
from actlab.reporting import conclusion
from actlab.results.layout import RunFolder
from actlab.stages import jobs
from actlab.stages.settling import Settling
from actlab.tracking.store import Finished
from actlab.training.config import TrainingConfig

OPTIONS = {
    "folder": "settled/mine",
    "first_seed": 1000,
    "most_seeds": 60,
    "metrics": None,
    "claims": False,
    "timed": None,
    "processes": 0,
    "declare_only": False,
    "commit": False,
}
LABELS = np.arange(10, dtype=np.int32)

#: Mean accuracies; sd is 0.2 points for all.
LEVELS = {"sigmoid": 0.93, "tanh": 0.9702, "relu": 0.97}


class Planted:
    """A study in a folder whose trainings are drawn; `trained` counts them by activation."""

    def __init__(self, folder, names=tuple(LEVELS), seeds=range(0), **options):
        self.folder, self.trained, self.diverges = folder, dict.fromkeys(names, 0), set()
        self.skips = False
        configs = [
            configured(
                folder,
                activation=activation_of(name),
                network=NetworkConfig("uniform", [4]),
                training=TrainingConfig(2, 128, [0]),
            )
            for name in names
        ]
        self.configs = configs
        self.study = Settling(configs, ["activation"], "mine", OPTIONS | options)
        self.study._load_splits = lambda config: SimpleNamespace(  # type: ignore[method-assign]
            test=SimpleNamespace(labels=LABELS)
        )

    def train(self, place, seeds):
        """Write the run folder of a job, and return the job's folder."""
        config = self.configs[place]
        name = config.activation.name
        self.trained[name] += len(seeds)
        job = self.folder / f"multirun/{name}-{seeds[0]}"
        run = RunFolder.finished(job / "runs", name, "uniform")
        rows, history = [], []
        for seed in seeds:
            rng = np.random.default_rng([seed, list(LEVELS).index(name)])
            accuracy = LEVELS[name] + 0.002 * rng.normal()
            loss = math.nan if (name, seed) in self.diverges else 0.1
            rows.append((seed, loss, accuracy))
            history += [(seed, epoch, loss, accuracy, loss, accuracy) for epoch in (1, 2)]
        run.write_table("test", rows)
        run.write_table("history", history)
        run.write_table("layers", [("hidden_1", 784, 4, name, 0), ("output", 4, 10, "linear", 0)])
        logits = np.eye(10, dtype=np.float32)
        run.write_logits(dict.fromkeys(seeds, logits))
        return job

    def look(self):
        """Train what is planned, and say what that was: seeds by activation."""
        planned = self.study.plan()
        jobs = [(place, self.train(place, seeds)) for place, seeds in planned]
        if jobs:
            trained = sum(len(seeds) for _, seeds in planned) if not self.skips else 0
            self.study.add(jobs, trained)
        return {self.configs[place].activation.name: seeds for place, seeds in planned}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Planted(tmp_path)


# --- Which seeds come next -------------------------------------------------------------------


def test_looks_are_those_of_the_rule():
    count = 0
    for _ in range(30):
        count = settling.next_look(count)
        assert count >= FIRST_LOOK
        assert (count - FIRST_LOOK) % STEP == 0
    assert count > 384


def test_seeds_are_added_where_a_pair_is_undecided_until_all_are_decided(planted, capsys):
    assert planted.study.declare()
    assert planted.look() == {name: list(range(1000, 1012)) for name in LEVELS}
    while planned := planted.look():
        assert set(planned) == {"tanh", "relu"}  # sigmoid is worse at the first look
        assert planned["tanh"] == planned["relu"]
    assert planted.trained["sigmoid"] == 12
    assert 18 <= planted.trained["tanh"] == planted.trained["relu"] <= 60
    study, scores = SettledFolder(planted.folder / "settled/mine").load()
    assert study.is_sequential
    table = comparisons.compare(study, scores, planted.configs[0].report)
    rows: Any = table[table["metric"] == "test_accuracy"].set_index(["first", "second"])
    verdicts = rows["verdict"]
    assert verdicts["sigmoid", "tanh"] == "worse"
    assert verdicts["tanh", "relu"] != "undecided"
    printed = capsys.readouterr().out
    assert "Look 1: 36 trainings, 12 seeds per configuration\n  test accuracy" in printed
    assert "2 of 3 pairs decided" in printed
    assert "the pairs are expected to need" in printed
    assert "3 of 3 pairs decided" in printed


def test_no_configuration_gets_more_than_the_most(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    planted = Planted(tmp_path, most_seeds=18)
    planted.study.declare()
    while planted.look():
        pass
    assert planted.trained == {"sigmoid": 12, "tanh": 18, "relu": 18}
    assert "undecided at the most of 18 seeds" in capsys.readouterr().out


def test_a_pair_of_which_a_seed_diverged_asks_for_no_more(planted):
    planted.diverges = {("tanh", 1003)}
    planted.study.declare()
    planted.look()
    assert planted.look() == {}
    study, scores = SettledFolder(planted.folder / "settled/mine").load()
    assert comparisons.diverged_seeds(study) == {("tanh",): [1003]}
    table = comparisons.compare(study, scores, planted.configs[0].report)
    row = table[(table["metric"] == "test_accuracy") & (table["second"] == "tanh")].iloc[0]
    assert (row["verdict"], row["pairs"]) == ("undecided", 12)


def test_a_copy_of_the_folder_goes_on_where_the_original_stopped(planted, tmp_path):
    planted.study.declare()
    planted.look()
    planted.look()
    trained = dict(planted.trained)
    again = Planted(tmp_path)  # a new process; nothing of multirun/ or MLflow is read
    again.study.declare()
    planned = again.study.plan()
    seeds = {again.configs[place].activation.name: seeds for place, seeds in planned}
    assert seeds["tanh"][0] == 1000 + trained["tanh"]
    assert "sigmoid" not in seeds


def test_rules_are_not_declared_anew_over_scores(planted, tmp_path, capsys):
    planted.study.declare()
    planted.look()
    folder = tmp_path / "settled/mine"
    record = (folder / "record.json").read_text()
    git("init", "-q")
    git("add", "settled")
    git("commit", "-qm", "too late")
    (folder / "record.json").unlink()
    Planted(tmp_path).study.declare()
    study, _ = SettledFolder(folder).load()
    assert "nothing shows to be older" in conclusion.describe_declaration(study)
    (folder / "record.json").write_text(record)
    (folder / "declaration.yaml").unlink()
    with pytest.raises(UserError, match=r"declaration.yaml is missing, and rules do not change"):
        Planted(tmp_path, most_seeds=120).study.declare()


def test_a_seed_that_is_missing_is_trained_and_no_other(planted, tmp_path):
    planted.study.declare()
    planted.look()
    path = tmp_path / "settled/mine/scores.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("tanh,1005,")))
    planned = Planted(tmp_path).study.plan()
    assert [seeds for _, seeds in planned] == [[1005]]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: "", "is damaged"),
        (lambda text: text[:-20], "is damaged"),
        (lambda text: text[: text.rindex(",")], "is damaged"),
        (lambda text: text + text.splitlines(keepends=True)[-1], "has a seed twice"),
        (lambda text: text.replace("relu,1000,", "relu,999,"), "seed 999 was not declared"),
        (lambda text: text.replace("relu,1000,", "gelu,1000,"), "gelu was not declared"),
        (lambda text: text.replace(",", ";"), "is damaged"),
        (lambda text: text.replace("relu,1000,", "relu,1e3,"), "is damaged"),
        (lambda text: text.replace("False", "FALSCH"), "is damaged"),
    ],
)
def test_damaged_scores_are_refused_in_one_line(planted, tmp_path, damage, reason):
    planted.study.declare()
    planted.look()
    path = tmp_path / "settled/mine/scores.csv"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=f"scores.csv.*{reason}.*: git checkout"):
        Planted(tmp_path).study.plan()


@pytest.mark.parametrize("name", ["record.json", "looks.csv"])
@pytest.mark.parametrize("content", ["", "[1]", '{"declared'])
def test_other_damaged_files_are_refused_in_one_line(planted, tmp_path, name, content):
    planted.study.declare()
    planted.look()
    (tmp_path / "settled/mine" / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        Planted(tmp_path).study.plan()


def test_scores_are_read_back_to_the_bit(planted):
    planted.study.declare()
    planted.look()
    folder = SettledFolder(planted.folder / "settled/mine")
    declaration = folder.read_declaration()
    assert declaration
    scores = folder.read_scores(declaration)
    text = (folder.path / "scores.csv").read_bytes()
    folder.write_scores(declaration, scores.sample(frac=1, random_state=0))
    assert (folder.path / "scores.csv").read_bytes() == text
    row = scores[(scores["activation"] == "relu") & (scores["pair"] == 1004)].set_index("metric")
    rng = np.random.default_rng([1004, list(LEVELS).index("relu")])
    assert row.loc["test_accuracy", "value"] == LEVELS["relu"] + 0.002 * rng.normal()
    assert set(scores["metric"]) >= {"test_loss", "calibration_error", "epochs_to_target"}


def test_a_look_names_the_processor_and_a_limit_of_its_instructions(planted, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--a=1 --xla_cpu_max_isa=AVX2 --b=2")
    planted.study.declare()
    planted.look()
    planted.study.plan()
    looks = SettledFolder(planted.folder / "settled/mine").read_looks()
    assert looks["processor"].item().endswith(", XLA limited to AVX2")


# --- The declaration -------------------------------------------------------------------------


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True)


def test_rules_that_were_committed_first_are_older_than_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert not Planted(tmp_path, declare_only=True).study.declare()
    assert "Commit it, then run the same without" in capsys.readouterr().out
    git("add", "settled")
    git("commit", "-qm", "rules")
    planted = Planted(tmp_path)
    assert planted.study.declare()
    record = json.loads((tmp_path / "settled/mine/record.json").read_text())
    assert record["declared"] <= record["first_training"]
    assert planted.study.tag.endswith(record["declared_commit"][:12])
    assert f"committed in {record['declared_commit'][:12]}" in capsys.readouterr().out


def test_each_look_is_committed_if_asked_for_and_a_commit_that_fails_is_said(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for name, value in (("user.name", "a"), ("user.email", "a@b.c")):
        git("config", name, value)
    planted = Planted(tmp_path, commit=True, most_seeds=18)
    planted.study.declare()
    while planted.look():
        pass
    log = subprocess.run(["git", "log", "--format=%s"], capture_output=True, text=True, check=True)
    assert log.stdout.split("\n")[:2] == ["mine: look 2", "mine: look 1"]
    assert "is not committed" not in capsys.readouterr().out
    (tmp_path / ".git/index.lock").touch()  # as another git leaves it
    (tmp_path / "settled/mine/looks.csv").unlink()
    Planted(tmp_path, commit=True, most_seeds=18).study._commit("again")
    assert "settled/mine is not committed: git commit settled/mine says why" in (
        capsys.readouterr().out
    )


def test_trainings_that_were_finished_earlier_do_not_shorten_the_estimate(planted, capsys):
    planted.study.declare()
    planted.skips = True
    planted.look()
    planted.look()
    printed = capsys.readouterr().out
    assert "the pairs are expected to need" in printed
    assert " min" not in printed
    assert SettledFolder(planted.folder / "settled/mine").read_looks()["trainings"].item() == 36


def test_rules_that_were_not_committed_are_said_to_be_so(planted, capsys):
    planted.study.declare()
    assert "declaration.yaml, not committed." in capsys.readouterr().out
    assert planted.study.tag.endswith("-uncommitted")


def test_rules_do_not_change_once_they_are_declared(planted, tmp_path):
    planted.study.declare()
    with pytest.raises(UserError, match="declares another most_seeds: rules do not change"):
        Planted(tmp_path, most_seeds=120).study.declare()
    path = tmp_path / "settled/mine/declaration.yaml"
    path.write_text(path.read_text().replace("most_seeds: 60", "most_seeds: 120"))
    with pytest.raises(UserError, match="has changed since it was declared: restore it"):
        planted.study.declare()
    path.write_text("[")
    with pytest.raises(UserError, match="is not a declaration: restore it"):
        planted.study.declare()


@pytest.mark.parametrize(
    ("options", "names", "reason"),
    [
        ({"most_seeds": 20}, LEVELS, "most_seeds is 20: it has to be 12 or a multiple of 6 more"),
        ({"most_seeds": 6}, LEVELS, "most_seeds is 6: it has to be 12"),
        ({"metrics": ["accuracy"]}, LEVELS, "metrics has 'accuracy': it has to be some of"),
        ({"claims": True}, LEVELS, "sweep network and activation alone, not activation"),
        ({"timed": ["mlp"], "processes": 6}, LEVELS, "processes is 6: times have an interval from"),
        ({"first_seed": "abc"}, LEVELS, "first_seed is 'abc': it has to be"),
        (
            {"metrics": ["test_mse"]},
            LEVELS,
            "metrics has 'test_mse': it has to be some of test_acc",
        ),
        (
            {"timed": ["mlp"], "processes": 12},
            LEVELS,
            "timed has 'mlp': it has to be some of the networks",
        ),
        ({}, ["relu"], "there is one configuration: a comparison takes two or more"),
    ],
)
def test_rules_that_cannot_be_are_refused(tmp_path, options, names, reason):
    with pytest.raises(UserError, match=reason):
        Planted(tmp_path, names, **options)


def test_the_declaration_names_all_that_decides_a_verdict(planted):
    planted.study.declare()
    declared = SettledFolder(planted.folder / "settled/mine").read_declaration()
    assert declared
    assert declared.metrics == ["test_accuracy"]
    assert declared.families == {"activation": 3}
    assert declared.report["equivalence_margin"] == 0.002
    assert declared.fixed["training.epochs"] == "2"
    assert "confidence sequence" in declared.rule
    assert [row["activation"] for row in declared.configurations] == list(LEVELS)


def test_other_rules_over_scores_are_called_other_rules(planted, tmp_path):
    planted.study.declare()
    planted.look()
    with pytest.raises(UserError, match="declares another first_seed"):
        Planted(tmp_path, first_seed=2000).study.declare()


@pytest.mark.parametrize(
    ("declaration", "is_refused"),
    [("rules-abc", False), ("rules-def", True), ("rules-uncommitted", False), (None, False)],
)
def test_seeds_that_were_trained_before_the_rules_are_refused(
    tmp_path, monkeypatch, declaration, is_refused
):
    store = SimpleNamespace(
        find_finished=lambda digest: Finished("1", "trained", 0.9, "rules-abc"),
        write=lambda run, tags: None,
    )
    monkeypatch.setattr(jobs, "connect_to_write", lambda: store)
    monkeypatch.setattr(jobs, "fingerprint", lambda config: "0" * 64)
    monkeypatch.setattr(jobs, "provide_own", lambda config: None)
    config = replace(configured(tmp_path), declaration=declaration)
    if is_refused:
        with pytest.raises(UserError, match="trained before the rules were declared"):
            jobs.train_once(print, config, "job 0")
    else:
        assert jobs.train_once(print, config, "job 0").status == "skipped"


# --- The library -----------------------------------------------------------------------------


def test_the_library_settles_activations(capsys):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(400, 8)).astype(np.float32)
    labels = (images[:, 0] + images[:, 1] > 0).astype(int)
    data = actlab.from_arrays(images, labels, test_size=0.25)
    made = actlab.settle(
        ["relu", "linear"], data, [4], max_seeds=18, epochs=1, margin=0.5, batch_size=32
    )
    assert isinstance(made.looks, pd.DataFrame)
    assert made.looks["trainings"].iloc[0] == 24
    assert made.comparisons["verdict"].item() in ("equivalent", "negligible")
    assert made.looks["undecided"].iloc[-1] == 0
    assert sorted(set(made.test["seed"]))[:2] == [1000, 1001]
    assert "look 1: 24 trainings, 12 seeds per configuration" in capsys.readouterr().out
    refused: list[tuple[dict[str, Any], str]] = [
        ({"seeds": [1]}, "settle chooses the seeds"),
        ({"max_seeds": 3}, "max_seeds"),
    ]
    for wrong, reason in refused:
        with pytest.raises(UserError, match=reason):
            actlab.settle(["relu", "linear"], data, [4], **wrong)
    with pytest.raises(UserError, match="only relu is given"):
        actlab.settle(["relu"], data, [4])

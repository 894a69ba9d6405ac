import re
import shutil
import subprocess

import pytest
from studies import read_committed

from actlab.plan import CACHED, FAILED, RAN, SECONDS, UNCHANGED, Plan, with_downstream

STAGES = ["preprocess", "train@relu-mlp", "train@tanh-mlp", "train@tanh-deep", "gradients"]


def follow(plan, *lines):
    """Take in lines, each at its second."""
    for now, line in lines:
        plan.take_in(line, now)


def test_what_follows_a_changed_stage_is_what_dvc_says(root, tmp_path):
    shutil.copy(root / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(read_committed(root, "params.yaml"))
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    drawn = subprocess.run(
        ["dvc", "dag", "--dot"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    edges = re.findall(r'"(.+)" -> "(.+)";', drawn)
    stages = re.findall(r'^"([^"]+)";', drawn, re.MULTILINE)
    assert {"fetch-data", "train@relu-deep"} < set(stages)
    trainings = [each for each in stages if each.startswith("train")]
    for stage in stages:
        follows = {stage}
        while more := {to for since, to in edges if since in follows} - follows:
            follows |= more
        assert with_downstream([stage], trainings) == follows, stage


def test_dvcs_lines_are_followed():
    plan = Plan.of(STAGES, {"train@relu-mlp"}, {})
    assert plan.take_in("Stage 'preprocess' didn't change, skipping", 1.0) == [
        (1, "preprocess", UNCHANGED, 0.0)
    ]
    assert plan.take_in("Running stage 'train@relu-mlp':", 2.0) == []
    assert (plan.current, plan.place()) == ("train@relu-mlp", 2)
    assert plan.take_in("> python -m actlab.stages.train", 3.0) == []
    cached = "Stage 'train@tanh-mlp' is cached - skipping run, checking out outputs"
    assert plan.take_in(cached, 12.0) == [(2, "train@relu-mlp", RAN, 10.0)]
    assert plan.take_in("Stage 'train@tanh-deep' didn't change, skipping", 13.0) == [
        (3, "train@tanh-mlp", CACHED, 1.0),
        (4, "train@tanh-deep", UNCHANGED, 0.0),
    ]
    follow(plan, (14.0, "Running stage 'gradients':"))
    plan.finish(20.0, failed=True)
    assert plan.ended[-1] == (5, "gradients", FAILED, 6.0)
    assert plan.outcomes() == {RAN: 1, CACHED: 1, UNCHANGED: 2, FAILED: 1}
    assert plan.seconds_of_stages() == {"train@relu-mlp": 10.0}


def test_what_lies_downstream_of_a_change_is_expected_to_run():
    assert Plan.of(STAGES, {"train@relu-mlp"}, {}).stale == {"train@relu-mlp", "gradients"}
    assert Plan.of(STAGES, {"preprocess"}, {}).stale == set(STAGES)
    assert Plan.of(STAGES, set(), {}).stale == set()


def test_a_stage_is_expected_to_take_what_it_took():
    last = dict(zip(STAGES, (1.0, 20.0, 30.0, 40.0, 5.0), strict=True))
    plan = Plan.of(STAGES, STAGES, last)
    assert plan.seconds_left(0.0) == 96.0
    follow(plan, (0.0, "Running stage 'preprocess':"))
    assert plan.seconds_left(0.5) == 95.5
    assert plan.seconds_left(7.0) == 95.0  # longer than expected: it may end any moment


def test_the_pace_of_a_kind_is_that_of_this_run():
    last = dict(zip(STAGES, (1.0, 20.0, 30.0, 40.0, 5.0), strict=True))
    plan = Plan.of(STAGES, STAGES, last)
    follow(plan, (0.0, "Running stage 'preprocess':"), (3.0, "Running stage 'train@relu-mlp':"))
    assert plan.seconds_left(3.0) == pytest.approx(3 * 95)  # of no kind but the first's is known
    follow(plan, (13.0, "Running stage 'train@tanh-mlp':"))
    # Trainings take half of what they took; all stages so far took 13 s in place of 21.
    assert plan.seconds_left(13.0) == pytest.approx(15 + 20 + 5 * 13 / 21)


def test_a_training_says_how_long_it_takes():
    plan = Plan.of(STAGES, STAGES[1:], dict.fromkeys(STAGES, 10.0))
    follow(
        plan,
        (0.0, "Running stage 'train@relu-mlp':"),
        (8.0, "relu-mlp: 24 of 120 model-epochs, loss 0.1000, val_accuracy 0.9000, 32 s left"),
    )
    # It will take 40 s, and so will the other two; gradients too, as far as is known.
    assert plan.seconds_left(8.0) == pytest.approx(32 + 40 + 40 + 40)
    follow(plan, (20.0, "Running stage 'train@tanh-mlp':"))
    assert plan.seconds_left(20.0) == pytest.approx(20 + 20 + 20)


def test_a_stage_that_never_ran_is_taken_for_its_like():
    plan = Plan.of(["train@gelu-deep", "timing"], ["train@gelu-deep"], {"train@tanh-deep": 40.0})
    assert plan.seconds_left(0.0) == 40.0 + SECONDS["timing"]
    last = {"train@relu-mlp": 20.0, "train@tanh-mlp": 30.0, "train@tanh-deep": 40.0}
    assert Plan.of(["train@gelu-mlp"], ["train@gelu-mlp"], last).seconds_left(0.0) == 25.0
    assert Plan.of(["train@gelu-wide"], ["train@gelu-wide"], last).seconds_left(0.0) == 30.0
    assert Plan.of(["mine"], ["mine"], {}).seconds_left(0.0) == 10.0

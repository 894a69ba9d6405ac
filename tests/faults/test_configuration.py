"""Configurations that Hypothesis generates: each trains, or is one line that names the key."""

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from studies import read_committed
from web import NAMES, define, format_idx, plant_data

from actlab.data import datasets, splits
from actlab.engine import command
from actlab.engine.project import Outcome
from actlab.stages import entry
from actlab.stages.compare import compare
from actlab.stages.train import train

PARTS = range(4 if os.environ.get("ACTLAB_FAULTS") == "all" else 1)
WHOLE, QUICK = 500, 20  # configurations in a part

# --- What a configuration is changed in ---------------------------------------------------

HUGE = 10**30
TEXTS = ["", " ", "a\nb", "x" * 300, "a b", "zwölf", "名前", "it's", '"', "\\", "a/b", "..", "-"]
TEXTS += ["a-b", "<script>", "${seeds}", "${nope}", "${", "${oc.env:NOPE}", "${a:b}", "$", "???"]
TEXTS += ["null", "~", "yes", "0x10", "1_000", "1e3", "1:30", "2020-01-01", "!!int 3", "{}", "[1"]
TEXTS += ["a=b", "a,b", "%s", "{0}"]
NUMBERS = [-1, 0, 1, 2.5, -0.0, 1e-300, 1e308, HUGE, -HUGE, 10**400]
NUMBERS += [float("nan"), float("inf"), float("-inf")]
SHAPES: list[Any] = [None, True, False, [], {}, [[]], [None], ["a"], [1, 1], [1.5], {"a": 1}, [{}]]
#: Of every kind; none of them makes a training long.
ODD: list[Any] = [*TEXTS, *NUMBERS, *SHAPES]

#: What each key may be, as far as it is trained at a tiny scale.
GOOD: dict[str, list[Any]] = {
    "data.name": ["mnist"],
    "data.validation_size": [0, 1, 100, 299],
    "data.split_seed": [0, 7, 2**63 - 1],
    "data.images": [None, 120, 300],
    "data.validation": ["stratified", "random", "first", "last"],
    "data.label_noise": [0.0, 0.5, 1],
    "data.preprocessing": [
        *(None, "standardize", {"mean": 0.1, "sd": 0.3}, {"low": -1, "high": 1.0}),
    ],
    "data.targets": ["labels"],
    "seeds": [[0], [5, 3], [2**32], [2**63 - 1]],
    "activations": [["relu"], ["tanh", "elu"]],
    "networks": [["mlp"]],
    "initializer.name": ["he_normal", "recommended", "lecun_uniform"],
    "initializer.bias": [None],
    "optimizer.name": ["sgd", "adamw", "lion", "adafactor"],
    "optimizer.beta_1": [0.0, 0.5],
    "optimizer.weight_decay": [None, 0, 0.01],
    "optimizer.clipnorm": [None, 1e-3],
    "training.epochs": [1, 2],
    "training.steps": [None, 1, 3, 10**9],
    "training.monitor": ["val_loss", "val_accuracy", "loss"],
    "training.patience": [None],
    "training.min_delta": [0.0, 1],
    "training.tested": ["last"],
    "training.train_metrics": ["running", "inference"],
    "training.test_noise": [[], [0.5]],
    "training.batch_size": [32, 299, 300, 301, 2**31, HUGE],
    "optimizer.learning_rate": [0.01, 1, 1e-30, 1e30],
    "training.probe_epochs": [[], [0], [1, 1], [HUGE]],
    "gradients.notebook_images": [1, 10**6],
    "gradients.test_images": [1, 10**6],
    "gradients.saturated_below": [1e-9, 0.999],
    "gradients.preactivation_bins": [3, 1000],
    "timing.blocks": [2],
    "timing.kernel_units": [1],
    "timing.kernel_repetitions": [1],
    "timing.elementwise_repetitions": [1],
    "theory.initializers": [["recommended"]],
    "theory.width": [1],
    "theory.depth": [2],
    "theory.images": [1, 10**6],
    "theory.seeds": [[0, 2**32]],
    "report.confidence": [0.5, 0.999],
    "report.target_accuracy": [0.001, 0.999],
    "report.equivalence_margin": [1e-9, 10],
    "report.equivalence_margin_nats": [1],
    "report.equivalence_margin_epochs": [0.5],
    "report.equivalence_margin_ratio": [2],
    "activation.name": ["relu", "a.b", "x" * 100],
    "activation.function": ["tanh", "softplus", "example.snake"],
    "network.name": ["uniform", "_"],
    "network.hidden": [[], [1], [2, 3], "1x2"],
    "network.dropout": [0, 0.5],
    "network.alpha_dropout": [0.0, 0.1],
    "network.batch_norm": [None, "before", "after"],
    "network.layer_norm": [None, "before", "after"],
    "network.l1": [0, 1e-3],
    "network.l2": [0.0, 0.1],
    "network.skip": [True, False],
    "network.conv": [[], ["2@5x5"], "3@9x3"],
    "network.pool": [None],
    "network.activations": [[], [None]],
    "network.outputs": ["softmax", "logistic"],
    "sweep": [None, "mine", "x" * 100],
    "force": [True, False],
    "models_at_once": [None, 1, HUGE],
    "compare.filter": [""],
    "compare.by": [None, ["seeds"]],
}

#: Odd values that stand for a good one, or that would train for long.
FUNCTIONS = ["softmax", "os.nothing", "math.tau", "sys.exit", "example.cosine", "a..b", "x.y"]
FUNCTIONS += ["json", "RELU", "keras.ops.mean", "keras.activations.softmax"]
FUNCTIONS += ["custom.example.snake"]
NOT_THERE = ["training.epohcs", "foo", "data.seed", "report.equivalence", "network.hidden.x"]
NOT_THERE += ["hydra"]
TABLE = ["relu", "leaky_relu", "gelu", "elu", "threshold", "squareplus", "snake", "prelu"]
TABLE += ["tanh"]
CONSTANTS = ["negative_slope", "max_value", "threshold", "approximate", "alpha", "frequency"]
CONSTANTS += ["b", "é"]
GROUPS = {
    "activation": [*TABLE, "rulu", "custom", "../relu", "", "null", "[relu]", "relu.yaml"],
    "network": ["mlp", "wide", "deep,mlp", "'a b'", "uniform/x", "[1]", "~"],
    "optimizer": ["sgd", "adam", "adamm", "../adam", "", "null", "{name: sgd}", "3"],
    "initializer": ["unit_norm", "torch", "he", "[he_normal]", "''", "mean_field"],
}
RAW = ["[1", "1]", "{", "'", '"a', "\\", "$", "${", "=", "1,2", "range(1,", "x:", "#", "("]
RAW += ["range(0,-1)", "choice()", "interval(1,2)", "glob(*)", "!", "@a", "", "a b", "1 # 2"]
RAW += ["\t", "\n", "\u00e9\u2028"]
BROKEN = ["training: {epochs: 3\n", "# nothing\n", "3\n", "a: &a [*a]\n", "training: *nowhere\n"]
BROKEN += ["training: !!python/object/apply:os.getcwd []\n", "seeds: !!set {1, 2}\n"]
BROKEN += ["seeds: !!binary AAAA\n", "training: 2020-01-01\n", "1: 2\n", "null: 1\n"]
BROKEN += ["defaults: [nowhere]\n", "defaults: 3\n", "seeds: ${seeds}\n"]
BROKEN += ["training: ${training}\n", "", "- a\n- b\n", "data: 1\ndata: 2\n", "\ta: 1\n"]
BROKEN += ["a: 1\n---\nb: 2\n", "? [a, b]\n: c\n", "training:\n  1.5: 2\n", "a: \u0007\n"]
BROKEN += ["b: \ud800\n", "c: \udcff\u00fe\n", "[" * 3000, f"seeds: [{'9' * 5000}]\n"]
FILES = ["params.yaml", "conf/config.yaml"]
FILES += ["conf/activation/relu.yaml", "conf/network/uniform.yaml"]
FILES += ["conf/optimizer/adam.yaml", "conf/initializer/glorot_uniform.yaml"]


@dataclass(frozen=True)
class Change:
    """A change of the configuration: an override, or an edit of a file.

    `names` are what a refusal may name it by; one of them is enough.
    """

    names: tuple[str, ...]
    override: str | None = None
    path: str | None = None
    key: str | None = None
    value: Any = None
    text: str | None = None

    def __str__(self) -> str:
        if self.override is not None:
            return repr(self.override)[:120]
        done = repr(self.text)[:80] if self.text is not None else f"{self.key}={self.value!r}"[:80]
        return f"{self.path}: {'no ' + str(self.key) if self.value is DELETED else done}"


DELETED = object()


def write_override(key: str, value: Any) -> str:
    """Write a value in Hydra's grammar; a text is quoted."""

    def write(value: Any) -> str:
        match value:
            case None:
                return "null"
            case bool():
                return str(value).lower()
            case str():
                escaped = value.replace("\\", "\\\\").replace("'", "\\'")
                return f"'{escaped}'"
            case list():
                return f"[{','.join(map(write, value))}]"
            case dict():
                return f"{{{','.join(f'{name}:{write(each)}' for name, each in value.items())}}}"
        return str(value)

    return f"{key}={write(value)}"


def place_of(key: str) -> tuple[str, str]:
    """Return the file that a key stands in, and its name there."""
    section, _, name = key.partition(".")
    if section in ("sweep", "force", "models_at_once", "compare"):
        return "conf/config.yaml", key
    if section == "activation":
        return "conf/activation/relu.yaml", name
    if section == "network":
        return "conf/network/uniform.yaml", name
    return "params.yaml", key


def changed(key: str, value: Any, in_file: bool) -> Change:
    names = (key, f"conf/{key.partition('.')[0]}/")
    if key == "activation.function":
        names += ("activation.constants",)  # those of the one before
    if not in_file:
        return Change(names, write_override(key, value))
    path, name = place_of(key)
    return Change(names, path=path, key=name, value=value)


keys = st.sampled_from(sorted(GOOD))
good = keys.flatmap(
    lambda key: st.builds(changed, st.just(key), st.sampled_from(GOOD[key]), st.booleans())
)
odd = st.builds(changed, keys, st.sampled_from(ODD), st.booleans())
numbers = st.integers(-(2**70), 0) | st.floats(max_value=0) | st.floats(1e300, allow_infinity=True)
drawn = st.builds(changed, keys, numbers | st.text(max_size=20), st.just(False))
lists = st.lists(st.sampled_from([*NUMBERS, *TEXTS[:20], None, [], True]), max_size=3)
listed = st.builds(changed, keys, lists, st.booleans())
raw = st.builds(lambda key, text: Change((key,), f"{key}={text}"), keys, st.sampled_from(RAW))
removed = st.builds(
    lambda key, in_file: (
        Change((key,), path=place_of(key)[0], key=place_of(key)[1], value=DELETED)
        if in_file
        else Change((key,), f"~{key}")
    ),
    keys,
    st.booleans(),
)
added = st.builds(
    lambda key, sign, value: Change((key,), f"{sign}{write_override(key, value)}"),
    st.sampled_from(NOT_THERE),
    st.sampled_from(["", "+", "++", "~"]),
    st.sampled_from([1, "a", None, [], {}]),
)
unknown = st.builds(
    lambda key, value: Change(
        (key, key.rpartition(".")[0]), path="params.yaml", key=key, value=value
    ),
    st.sampled_from(
        [*NOT_THERE[:-2], "4711", "a b", "é", "x" * 300, "training.epochs.x", "seeds.0"]
    ),
    st.sampled_from([1, None, [], {"a": 1}]),
)
functions = st.builds(
    changed, st.just("activation.function"), st.sampled_from(FUNCTIONS), st.booleans()
)
constants = st.builds(
    lambda activation, name, value: (
        Change((f"activation={activation}",), f"activation={activation}"),
        Change(
            (f"activation.constants.{name}", "activation.constants", "activation.function"),
            f"++{write_override(f'activation.constants.{name}', value)}",
        ),
    ),
    st.sampled_from(TABLE),
    st.sampled_from(CONSTANTS),
    st.sampled_from(ODD) | st.floats(),
)
groups = st.sampled_from(sorted(GROUPS)).flatmap(
    lambda group: st.builds(
        lambda option: Change((group,), f"{group}={option}"), st.sampled_from(GROUPS[group])
    )
)
SECTIONS = [
    "data",
    "training",
    "optimizer",
    "initializer",
    "theory",
    "report",
    "timing",
    "gradients",
    "compare",
]
sections = st.builds(
    changed, st.sampled_from(SECTIONS), st.sampled_from([*SHAPES, 0, "a"]), st.booleans()
)
malformed = st.builds(
    lambda text: Change((text.strip("+~= ") or "''", text), text),
    st.sampled_from(["training", "=1", "training..epochs=1", ".epochs=1", "training.=1", "+", "~"])
    | st.sampled_from(["a b=1", "seeds[0]=1", "training.epochs =1", "é=1", "@x=1", "seeds", "++"]),
)
broken = st.builds(
    # What it lacks is a name too, and a key of it, where that says something.
    lambda path, text: Change(
        (
            path,
            f"{Path(path).stem}'",
            f"{Path(path).parent.name}." if path.count("/") == 2 else path,
            *re.findall(r"^[a-z]{4,}(?=:)", text),
            *("missing mandatory value", "1 is unknown"),  # of an empty file; of a number
        ),
        path=path,
        text=text,
    ),
    st.sampled_from(FILES),
    st.sampled_from(BROKEN),
)


def several(changes: st.SearchStrategy) -> st.SearchStrategy:
    """Return lists of changes; a constant's are two, and a file that is broken has no other."""

    def flatten(found: list) -> list[Change]:
        flat = [each for some in found for each in (some if isinstance(some, tuple) else (some,))]
        whole = {each.path: each for each in flat if each.text is not None}
        return [each for each in flat if whole.get(each.path, each) is each]

    return st.lists(changes, min_size=1, max_size=3, unique_by=str).map(flatten)


wrong = st.one_of(
    odd, odd, drawn, listed, raw, removed, added, unknown, functions, constants, groups, sections,
    malformed, broken,
)  # fmt: skip
configurations = st.tuples(
    st.sampled_from(["alone"] * 7 + ["sweep", "stage", "compare"]),
    st.integers(0, 6).flatmap(lambda dice: several(good) if dice == 0 else several(wrong)),
)

# --- Commands that only compose ------------------------------------------------------------

WORDS = ["relu", "tanh*", "uniform", "mnist", "1", "2", "0", "-1", "0.5", "1e-3", "true", "null"]
WORDS += ["a b", "a/b", "..", "x=y", "${seeds}", "\\,", "é"]
FORMS = ["{0}", "{0},{1}", "'{0}'", '"{0}","{1}"', "[{0},{1}]", "[{0}],[{1}]", "{{threshold:{0}}}"]
FORMS += ["{{threshold:{0}}},{{}}", "choice({0},{1})", "range(1,{0})", "range(3,1)", "glob({0})"]
FORMS += ["interval(1,2)", "tag(log,int(interval({0},3)))", "shuffle({0},{1})", "sort({0},{1})"]
FORMS += [
    "sort(range(1,3),reverse=true)",
    "int({0})",
    "str([{0}])",
    "float({0},{1})",
    "",
    "choice()",
]
FORMS += ["interval(a,b)", "range(0,1,0.5)", "bool(yes,no)", "glob([{0},r*],exclude=re*)"]
PLACES = [*GOOD, "activation", "network", "data", "activation.constants", "model", "training"]
PLACES += ["activation.constants.threshold", "hydra.sweep.subdir", "hydra.job.chdir", "hydra.mode"]
PLACES += ["hydra.output_subdir", "hydra.sweeper.max_batch_size", "hydra/launcher", "experiment"]
HOW = {
    "alone": [],
    "grid": ["-m"],
    "optuna": ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1"],
    "fair": ["-m", "+experiment=fair", "hydra.sweeper.params=null"],
}
HOW["optuna"] += ["data.validation_size=9", "activation=relu,tanh"]
HOW["fair"] += ["activation=relu"]
overrides = st.builds(
    lambda sign, place, form, *words: f"{sign}{place}={form.format(*words)}",
    st.sampled_from(["", "", "", "", "+", "++", "~"]),
    st.sampled_from(PLACES),
    st.sampled_from(FORMS),
    st.sampled_from(WORDS),
    st.sampled_from(WORDS),
)
VALID = {key: GOOD[key] for key in GOOD if not key.startswith(("activation.", "network."))}
VALID |= {"activation": ["relu", "selu", "tanh"], "data": ["mnist"], "paths.raw": ["/a b", "c"]}
valid = st.sampled_from(sorted(VALID)).flatmap(
    lambda key: st.builds(
        lambda form, *found: f"{key}={form.format(*(write_override('', x)[1:] for x in found))}",
        st.sampled_from(["{0}", "{0}", "{0},{1}", "choice({0},{1})"]),
        st.sampled_from(VALID[key]),
        st.sampled_from(VALID[key]),
    )
)
composed = st.tuples(
    st.sampled_from([*HOW, "grid"]),
    st.lists(valid, min_size=1, max_size=4) | st.lists(valid | overrides, min_size=1, max_size=3),
)

# --- What becomes of it -------------------------------------------------------------------


class Recorder:
    """The tags of an experiment, where launches are recorded."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def get_experiment(self, experiment: str) -> "Recorder":
        return self

    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        self.tags[key] = value


class Study:
    """A repository at a tiny scale, in which configurations are tried one after the other."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
    ):
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        self.trained = self.refused = 0
        self.skipped = False

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if "__pycache__" not in path.parts and not path.name.startswith("mlflow.db")
        }

    def runs(self) -> dict[str, int]:
        """Count MLflow's runs by their status; FAILED ones without a reason apart."""
        if not (self.folder / "mlflow.db").is_file():
            return {}
        # Of a seed's run, its parent has the reason.
        reason = "SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key IN"
        reason += " ('mlflow.note.content', 'mlflow.parentRunId')"
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            return dict(
                database.execute(
                    f"SELECT status || CASE WHEN status = 'FAILED' AND NOT EXISTS ({reason})"
                    " THEN ' without a reason' ELSE '' END, COUNT(*) FROM runs r GROUP BY 1"
                ).fetchall()
            )

    def try_out(self, how: str, changes: list[Change]) -> str | None:
        """Run a command with some changes; return what does not hold, None when all does."""
        held = {
            path: (self.folder / path).read_bytes()
            for path in {each.path for each in changes if each.path is not None}
        }
        before, runs = self.files(), self.runs()
        overrides = [each.override for each in changes if each.override is not None]
        try:
            for each in changes:
                if each.path is not None:
                    _apply(self.folder / each.path, each)
            flags = {"sweep": ["-m"], "stage": ["run=stage"]}.get(how, [])
            stage, sweepable = (compare, False) if how == "compare" else (train, True)
            code, err, escaped = self._run(flags, overrides, lambda: entry.run(stage, sweepable))
        finally:
            for path, content in held.items():
                (self.folder / path).write_bytes(content)
        after, runs_after = self.files(), self.runs()
        for name in ("multirun", "runs", "results", "timings", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        fault = escaped or self._judge(how, changes, code, err, after - before, runs, runs_after)
        if fault is None:
            return None
        return f"{how}, {'; '.join(map(str, changes))}: {fault}"

    def _run(
        self, flags: list[str], overrides: list[str], run: Callable[[], None]
    ) -> tuple[Any, str, str | None]:
        self._monkeypatch.setattr(sys, "argv", ["train.py", *flags, *overrides])
        self._monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # a command sets it for its own process
        code, escaped = 0, None
        try:
            run()
        except SystemExit as error:
            code = error.code
        except BaseException as error:  # what a user would see as a traceback
            last = traceback.extract_tb(error.__traceback__)[-1]
            escaped = f"{type(error).__name__}: {str(error)[:200]} ({last.filename}:{last.lineno})"
        printed = self._capsys.readouterr()
        self.skipped = "skipped, MLflow has it finished" in printed.out
        return code, printed.err, escaped

    def try_to_compose(self, how: str, overrides: list[str]) -> str | None:
        """Run a command that trains nothing and has no store; return what does not hold."""
        composed: list[Any] = []

        def run_once(stage: Any, config: Any, job: str) -> Outcome:
            composed.append(config)
            return Outcome("done", 0.5, 0.0)

        store = SimpleNamespace(close_ended=list, experiment="1", client=Recorder())
        project = replace(entry.PROJECT, run_once=run_once, connect=lambda: store)
        before = self.files()
        code, err, escaped = self._run(
            HOW[how], overrides, lambda: command.run(composed.append, project, sweepable=True)
        )
        left = self.files() - before
        for name in ("multirun", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        tried = f"{how} {overrides}"
        if escaped or (code not in (0, 1, 2)):
            return f"{tried}: {escaped or code}"
        if code == 0:
            self.trained += 1
            return None if composed and not err else f"{tried}: {len(composed)} jobs, {err!r}"
        self.refused += 1
        one_line = code == 1 and err.startswith("actlab: ") and err.count("\n") == 1
        return f"{tried}: left {left}, {err!r}" if left or composed or not one_line else None

    def _judge(
        self,
        how: str,
        changes: list[Change],
        code: Any,
        err: str,
        new: set[str],
        runs: dict[str, int],
        runs_after: dict[str, int],
    ) -> str | None:
        grew = {name: count - runs.get(name, 0) for name, count in runs_after.items()}
        if bad := {name for name in grew if grew[name] and name not in ("FINISHED", "FAILED")}:
            return f"it left runs that are {bad}"
        lines = err.splitlines()
        if code == 0:
            self.trained += 1
            nothing = not any(name.endswith("history.csv") for name in new)
            if nothing and how != "compare" and not self.skipped:
                return "it ended well and trained nothing"
            return f"it trained, and said {err!r}" if lines else None
        self.refused += 1
        if code != 1:
            return f"exit status {code!r}"
        jobs = how == "sweep" and lines and lines[-1].endswith("skips what is finished")
        messages = lines[:-1] if jobs else lines
        if len(messages) != 1 or not messages[0].startswith("actlab: "):
            return f"{len(messages)} lines: {err[:400]!r}"
        names = {name for each in changes for name in each.names if name}
        if how == "compare":  # which finds too few runs
            names |= {"compare.filter", "no finished run", "no finished configuration"}
        if not any(name in messages[0] for name in names):
            return f"names none of its keys: {messages[0][:300]}"
        if jobs:  # a job that failed in training has a run that says why
            left = {name for name in new if "history.csv" in name}
            return f"it left {left}" if left or grew.get("FINISHED") else None
        if how == "sweep":
            new -= {"multirun", "multirun/multirun.yaml"}  # Hydra's own, of the sweep
        if new:
            return f"it left {sorted(new)[:5]}"
        return f"it left runs: {grew}" if any(grew.values()) else None


def _apply(path: Path, change: Change) -> None:
    if change.text is not None:
        path.write_bytes(
            change.text.encode(
                "utf-8", "surrogateescape" if "\udcff" in change.text else "surrogatepass"
            )
        )
        return
    text = path.read_text()
    header = "".join(line for line in text.splitlines(True) if line.startswith("# @package"))
    content = yaml.safe_load(text)
    assert change.key is not None
    *sections, name = change.key.split(".")
    section = content
    for each in sections:
        if not isinstance(section.get(each), dict):
            section[each] = {}
        section = section[each]
    if change.value is DELETED:
        section.pop(name, None)
    else:
        section[name] = change.value
    path.write_text(header + yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def study(root, mnist_raw, tmp_path, monkeypatch, capsys):
    """The repository's configuration, and 300 + 100 images of MNIST under its name."""
    for name in ("conf", "custom"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    params = yaml.safe_load(read_committed(root, "params.yaml"))
    params |= {"seeds": [0]}
    params["training"] |= {"epochs": 1, "batch_size": 100, "probe_epochs": []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (tmp_path / "conf/network/uniform.yaml").write_text("name: uniform\nhidden: [4]\n")
    config = (tmp_path / "conf/config.yaml").read_text()
    config = config.replace("- network: mlp", "- network: uniform")
    grid = "  - override hydra/sweeper: grid\n"
    assert grid in config
    quiet = "".join(f"  - override hydra/{name}_logging: disabled\n" for name in ("job", "hydra"))
    (tmp_path / "conf/config.yaml").write_text(config.replace(grid, grid + quiet))

    *whole, classes = datasets.load_raw("mnist", mnist_raw)
    raw, contents = tmp_path / "data/raw/mnist", {}
    raw.mkdir(parents=True)
    train, test = (
        datasets.RawSplit(*(array[:n] for array in split))
        for split, n in zip(whole, (300, 100), strict=True)
    )
    for name, array in zip(NAMES, (*train, *test), strict=True):
        contents[name] = format_idx(array)
        (raw / name).write_bytes(contents[name])
    plant_data(monkeypatch, mnist=define("MNIST", classes, contents))
    splits.save_processed(
        splits.build_splits(train, test, classes), tmp_path / "data/processed", params["data"]
    )

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ACTLAB_DATA", raising=False)

    # Who configures logging, Hydra or MLflow's alembic, shuts all handlers first: absl's closes the
    # stream that pytest reads. Those of files in the study may go.
    def close_files(references):
        for handler in (reference() for reference in references):
            is_file = isinstance(handler, logging.FileHandler)
            if is_file and Path(handler.baseFilename).is_relative_to(tmp_path):
                handler.close()

    monkeypatch.setattr(logging, "shutdown", close_files)
    path = list(sys.path)
    yield Study(tmp_path, capsys, monkeypatch)
    close_files(logging._handlerList)  # pyright: ignore[reportAttributeAccessIssue]
    sys.path[:] = path
    HydraConfig.instance().cfg = None


def generate(strategy: st.SearchStrategy, part: int, count: int, attempt: Callable) -> list[str]:
    """Try what a strategy generates; return a line for each that does not hold."""
    failures: list[str] = []

    @seed(part)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy)
    def try_out(generated):
        if fault := attempt(*generated):
            failures.append(fault)

    try_out()
    return failures


@pytest.mark.parametrize("part", PARTS)
def test_a_configuration_trains_or_is_one_line_that_names_the_key(part, study, is_whole, tally):
    failures = generate(configurations, part, WHOLE if is_whole else QUICK, study.try_out)
    tried = study.trained + study.refused
    assert study.trained > tried / 50
    tally(
        f"Configurations, part {part + 1} of {len(PARTS)}"
        f" ({study.trained} trained, {study.refused} refused)",
        tried,
        failures,
    )


@pytest.mark.parametrize("part", PARTS)
def test_overrides_of_hydras_grammar_compose_or_are_one_line(part, study, is_whole, tally):
    count = 100 if is_whole else 15
    failures = generate(composed, part, count, study.try_to_compose)
    tally(
        f"Overrides, part {part + 1} of {len(PARTS)}"
        f" ({study.trained} composed, {study.refused} refused)",
        study.trained + study.refused,
        failures,
    )

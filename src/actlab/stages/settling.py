"""What the sweeper `settle` asks actlab: which seeds to train next, and what they showed."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.errors import UserError
from actlab.evidence import claims, comparisons, settling
from actlab.evidence.comparisons import SCORES
from actlab.evidence.decisions import FIRST_LOOK, STEP
from actlab.evidence.outcomes import Evidence
from actlab.evidence.settled import LOOKS, SettledFolder, make_study
from actlab.evidence.settling import Declaration
from actlab.evidence.wording import counted
from actlab.reporting.provenance import ask_git, processor
from actlab.results import layout, tables
from actlab.results.study import Identity, Study
from actlab.schema import Config
from actlab.stages.declaring import declare, find_commit
from actlab.tracking.store import UNCOMMITTED

if TYPE_CHECKING:
    from actlab.data.splits import Splits
else:
    Splits = Any


#: The claims that seeds decide.
_PRIMARY = [
    claim for claim in claims.CLAIMS if claim.role == "primary" and claim.repeated_by == "seed"
]


class Settling:
    """A study in a folder that adds seeds: see `engine.project.SeedChoice`.

    Parameters
    ----------
    configs
        Of every configuration; their seeds are not used.
    swept
        The keys that have several values, as in Hydra's overrides.
    name
        Of the sweep.
    options
        Keys of `conf/hydra/sweeper/settle.yaml`.
    """

    def __init__(
        self, configs: Sequence[Config], swept: Sequence[str], name: str, options: Mapping[str, Any]
    ) -> None:
        self._options = options
        self._folder = SettledFolder(Path(options["folder"] or f"settled/{name}"))
        self._declaration, places = declare(configs, swept, name, options)
        self._places = places  # of a configuration of the declaration, in the grid
        self._configs = [configs[place] for place in places]
        self._splits: dict[str, Splits] = {}
        self._closing = ExitStack()
        self._helper: Any = None
        self._began, self._planned, self._trained = time.monotonic(), 0, 0

    # --- The declaration --------------------------------------------------------------------

    @property
    def tag(self) -> str:
        """The digest and the commit of the declaration, for the tags of every run."""
        commit = self._folder.read_record().get("declared_commit", "")
        return f"{self._declaration.digest[:12]}-{commit[:12] or UNCOMMITTED}"

    def declare(self) -> bool:
        """Write the declaration, or verify that it is the one that is there.

        Returns whether training may begin: not where the declaration alone was asked for.
        """
        folder, declared = self._folder, self._folder.read_declaration()
        if declared is None:
            if folder.is_begun or folder.read_record():
                raise UserError(
                    f"{folder.declared} is missing, and rules do not change once they are declared:"
                    f" restore it (git checkout {folder.declared}), or give this study another"
                    " hydra.sweeper.folder=..."
                )
            folder.write_declaration(self._declaration)
        elif declared != self._declaration:
            differing = [
                key
                for key, value in asdict(declared).items()
                if value != asdict(self._declaration)[key]
            ]
            raise UserError(
                f"{folder.declared} declares another {', '.join(differing)}: rules do not change"
                " once they are declared; give this study another sweep=... or"
                " hydra.sweeper.folder=..."
            )
        if self._options["declare_only"]:
            print(
                f"Declared: {folder.declared}. Commit it, then run the same without"
                " hydra.sweeper.declare_only: only then is it shown that the rules are older than"
                " the data.",
                flush=True,
            )
            return False
        if not folder.read_record():
            # Without a record, nothing shows that scores are younger than a commit.
            commit, committed = ("", "") if folder.is_begun else find_commit(folder.declared)
            folder.write_record(
                {
                    "declared_commit": commit,
                    "declared": committed,
                    "first_training": _now(),
                }
            )
            state = f"committed in {commit[:12]}" if commit else "not committed"
            print(f"The rules are in {folder.declared}, {state}.", flush=True)
        return True

    # --- Looks ------------------------------------------------------------------------------

    def plan(self) -> list[tuple[int, list[int]]]:
        """List the places of configurations in the grid that get more seeds, with these seeds.

        Prints what is decided so far.
        """
        declaration, folder = self._declaration, self._folder
        study, scores = folder.load()
        counts = _count_seeds(declaration, scores)
        if not any(counts.values()):
            targets = dict.fromkeys(declaration.identities, FIRST_LOOK)
        else:
            compared = comparisons.compare(study, scores, declaration.report_config())
            open_claims = self._find_open_claims(study, scores, compared)
            targets = settling.find_targets(
                study,
                compared,
                open_claims.values(),
                counts,
                declaration.metrics,
                declaration.most_seeds,
            )
            self._report_look(study, compared, open_claims, counts, targets)
        planned = []
        for place, known in zip(self._places, declaration.identities, strict=True):
            have = set(where(scores, **dict(zip(declaration.keys, known, strict=True)))["pair"])
            wanted = declaration.list_seeds(targets.get(known, 0))
            if seeds := [seed for seed in wanted if seed not in have]:
                planned.append((place, seeds))
        self._began, self._planned = time.monotonic(), sum(len(seeds) for _, seeds in planned)
        return planned

    def add(self, jobs: Sequence[tuple[int, Path]], trained: int) -> None:
        """Read the scores of finished jobs: places of their configurations, and their folders.

        `trained` seeds of them were not finished earlier.
        """
        declaration, folder, self._trained = self._declaration, self._folder, trained
        runs = {}
        for place, path in [(self._places.index(place), path) for place, path in jobs]:
            config = self._configs[place]
            run = layout.RunFolder.finished(
                path / "runs", config.activation.name, config.network.name
            )
            if not run.table("test").is_file():
                raise UserError(
                    f"{run.path} is missing, though MLflow has it finished: run the same again"
                    " with force=true"
                )
            runs[place] = run
        calibration = {place: self._calibrate(place, run) for place, run in runs.items()}
        added = _score_runs(declaration, runs, self._measure(runs), calibration)
        scores = pd.concat([folder.read_scores(declaration), added], ignore_index=True)
        folder.write_scores(declaration, scores)

    def conclude(self) -> None:
        """Time what is to be timed, compare all, and write the report."""
        from actlab.reporting.writing import print_comparison, write_comparison

        self._time_epochs()
        self._closing.close()
        declaration = self._declaration
        study, scores = self._folder.load()
        config = replace(self._configs[0], report=declaration.report_config())
        activations = self._list_activations(study) if declaration.claims else []
        folder = Path("reports/compare", declaration.name)
        found = write_comparison(study, scores, config, folder, activations=activations)
        for name in ("summary", "comparisons", "claims"):
            if (folder / f"{name}.csv").is_file():
                shutil.copyfile(folder / f"{name}.csv", self._folder.path / f"{name}.csv")
        self._commit("the comparison")
        print()
        print_comparison(study, found, config.report.confidence, folder)

    def _find_open_claims(
        self, study: Study, scores: pd.DataFrame, compared: pd.DataFrame
    ) -> dict[str, list[Identity]]:
        """Find the primary claims that are not decided, with the configurations to train for them.

        Those are none where a seed diverged, or something is not measured.
        """
        if not self._declaration.claims:
            return {}
        evidence = self._gather_evidence(study, scores, compared)
        found = {}
        for claim in _PRIMARY:
            row = claim.examine(evidence)
            if row["verdict"] not in ("undecided", "not measured"):
                continue
            found[claim.name] = []
            if row["verdict"] == "undecided" and row["estimate"] == row["estimate"]:
                names = [evidence.get_name(function) for function in claim.functions]
                found[claim.name] = [
                    (network, name)
                    for network in claim.networks(evidence)
                    for name in names or study.activations
                ]
        return found

    def _gather_evidence(
        self, study: Study, scores: pd.DataFrame, compared: pd.DataFrame
    ) -> Evidence:
        return Evidence(
            study,
            scores,
            compared,
            self._list_activations(study),
            self._configs[0].data.name,
            self._declaration.report_config(),
        )

    def _list_activations(self, study: Study) -> list[ActivationConfig]:
        named = {config.activation.name: config.activation for config in self._configs}
        return [named[name] for name in study.activations]

    def _report_look(
        self,
        study: Study,
        compared: pd.DataFrame,
        open_claims: Mapping[str, Any],
        counts: Mapping[Identity, int],
        targets: Mapping[Identity, int],
    ) -> None:
        """Print and record a look."""
        declaration = self._declaration
        looks, seconds = self._folder.read_looks(), time.monotonic() - self._began
        undecided = settling.list_undecided(study, compared, declaration.metrics)
        lines = settling.describe_look(study, compared, declaration.metrics, counts)
        if declaration.claims:
            count = len(_PRIMARY)
            named = f"; undecided: {', '.join(open_claims)}" if open_claims else ""
            lines.append(f"claims: {count - len(open_claims)} of {count} decided{named}")
        more = settling.estimate_trainings(
            study, compared, counts, declaration.metrics, declaration.most_seeds
        )
        if targets:
            next_ones = sum(targets[known] - counts[known] for known in targets)
            expected = f"next: {counted(next_ones, 'training')}"
            if more:
                expected += f"; the pairs are expected to need {more:,} more in all"
                if self._trained:
                    minutes = more * seconds / self._trained / 60
                    expected += f", about {max(1, round(minutes)):,} min"
            lines.append(expected)
        elif undecided:
            lines.append(f"undecided at the most of {counted(declaration.most_seeds, 'seed')}")
        elif len(where(compared, metric=declaration.metrics, verdict="undecided")):
            lines.append("the other pairs cannot be decided by more seeds: see the comparison")
        number = len(looks) + bool(self._planned)
        print(f"\nLook {max(1, number)}: {lines[0]}", *lines[1:], sep="\n  ", flush=True)
        if not self._planned:
            return
        row = (
            *(
                number,
                _now(),
                ask_git(Path.cwd(), "rev-parse", "HEAD") or "",
                processor(),
                self._planned,
                round(seconds, 1),
            ),
            *(min(counts.values()), max(counts.values()), len(undecided), len(open_claims)),
        )
        added = pd.DataFrame([row], columns=list(LOOKS))
        self._folder.write_looks(
            pd.concat([looks, added], ignore_index=True) if len(looks) else added
        )
        self._commit(f"look {number}")

    # --- Measuring --------------------------------------------------------------------------

    def _measure(self, runs: Mapping[int, layout.RunFolder]) -> Mapping[int, Any]:
        """Measure gradients and unit health of finished runs, for the claims."""
        if not self._declaration.claims:
            return {}
        from actlab.data.splits import first_images
        from actlab.engine.parallel import helper_process, share
        from actlab.probes.gradients import probe_configuration

        if self._helper is None:
            self._helper = self._closing.enter_context(helper_process())
        config = self._configs[0]
        splits, options = self._load_splits(config), config.gradients
        probes = {
            "notebook": first_images(splits.train, options.notebook_images),
            "test": first_images(splits.test, options.test_images),
        }
        tasks = {
            place: partial(
                probe_configuration,
                run.models,
                list(run.read_table("test")["seed"]),
                probes,
                "test",
                options.saturated_below,
                options.preactivation_bins,
            )
            for place, run in runs.items()
        }
        return {place: rows for place, (rows, _) in share(tasks, self._helper).items()}

    def _time_epochs(self) -> None:
        """Time epochs of the declared networks, in the declared number of processes.

        More follow while a primary claim about times is undecided, at most as many as seeds.
        """
        from actlab.engine.parallel import run_apart

        declaration, timed = self._declaration, self._folder.read_times()
        chosen = [config for config in self._configs if config.network.name in declaration.timed]
        wanted, most = declaration.processes, declaration.most_seeds
        while chosen:
            done = set(timed["block"]) if len(timed) else set()
            blocks = [block for block in range(1, wanted + 1) if block not in done]
            if blocks:
                what = counted(len(chosen), "configuration")
                print(f"timing {what} in {counted(len(blocks), 'process')}", flush=True)
            for rows in run_apart(partial(time_block, chosen, block) for block in blocks):
                added = pd.DataFrame(rows, columns=list(tables.BLOCKS))
                timed = pd.concat([timed, added], ignore_index=True) if len(timed) else added
                self._folder.write_times(timed)
            if blocks:
                self._commit(f"times of {wanted} processes")
            if wanted >= most or not self._lacks_times():
                break
            wanted = min(wanted + STEP, most)

    def _lacks_times(self) -> bool:
        """Tell whether a primary claim about times is undecided."""
        if not self._declaration.claims:
            return False
        study, scores = self._folder.load()
        compared = comparisons.compare(study, scores, self._declaration.report_config())
        evidence = self._gather_evidence(study, scores, compared)
        return any(
            claim.examine(evidence)["verdict"] == "undecided"
            for claim in claims.CLAIMS
            if claim.role == "primary" and claim.repeated_by == "process"
        )

    def _calibrate(self, place: int, run: layout.RunFolder) -> pd.DataFrame:
        """Compute the calibration error of each seed of a classifier."""
        import numpy as np

        from actlab.evidence.predictions import find_calibration

        config = self._configs[place]
        if config.network.outputs == "linear":
            return pd.DataFrame()
        labels = self._load_splits(config).test.labels
        with np.load(run.logits) as file:
            errors = {
                int(name.removeprefix("seed-")): find_calibration(
                    file[name], labels, config.network.outputs
                )
                for name in file
            }
        return pd.DataFrame({"seed": list(errors), "calibration_error": list(errors.values())})

    def _load_splits(self, config: Config) -> Splits:
        from actlab.stages.train import load_splits

        key = str(config.data)
        if key not in self._splits:
            self._splits[key] = load_splits(config)
        return self._splits[key]

    def _commit(self, what: str) -> None:
        """Commit the folder, if that was asked for."""
        if not self._options["commit"]:
            return
        path, root = str(self._folder.path), Path.cwd()
        message = f"{self._declaration.name}: {what}"
        commit = ("commit", "--quiet", "-m", message, "--", path)
        added = ask_git(root, "add", path)
        if ask_git(root, "status", "--porcelain", "--", path) == "":
            return  # nothing new
        if added is None or ask_git(root, *commit) is None:
            print(f"{path} is not committed: git commit {path} says why", flush=True)


# --- Pieces ---------------------------------------------------------------------------------


def _count_seeds(declaration: Declaration, scores: pd.DataFrame) -> dict[Identity, int]:
    """Count the seeds of each configuration up to the first that is missing."""
    counts = dict.fromkeys(declaration.identities, 0)
    for known, rows in scores[scores["metric"] != "epoch_seconds"].groupby(declaration.keys):
        have = set(rows["pair"])
        wanted = declaration.list_seeds(declaration.most_seeds)
        missing = (place for place, seed in enumerate(wanted) if seed not in have)
        counts[tuple(map(str, known))] = next(missing, len(wanted))  # type: ignore[arg-type]
    return counts


def _score_runs(
    declaration: Declaration,
    runs: Mapping[int, layout.RunFolder],
    gradients: Mapping[int, Any],
    calibration: Mapping[int, pd.DataFrame],
) -> pd.DataFrame:
    """Score run folders, by the places of their configurations."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for place, run in runs.items():
        row = declaration.configurations[place]
        labels = {key: row[key] for key in declaration.keys}
        layers = run.read_table("layers").rename(columns={"activation": "layer_activation"})
        found = {
            "test": run.read_table("test"),
            "history": run.read_table("history"),
            "layers": layers,
            "calibration": calibration[place],
        }
        if place in gradients:
            columns = list(tables.GRADIENTS[2:])
            found["gradients"] = pd.DataFrame(gradients[place], columns=columns)
        for name, table in found.items():
            if len(table):
                parts.setdefault(name, []).append(table.assign(**labels))
    study = make_study(declaration, pd.DataFrame(columns=[*declaration.keys, *SCORES]))
    chosen = study.configurations.iloc[sorted(runs)].reset_index(drop=True)
    joined: Any = {name: pd.concat(each, ignore_index=True) for name, each in parts.items()}
    study = replace(study, configurations=chosen, **joined)
    return comparisons.score(study, declaration.report["target_accuracy"])


def time_block(configs: Sequence[Config], block: int) -> list[tuple]:
    """Time a block in this process: rows of `tables.BLOCKS`."""
    from actlab.probes.epochs import time_epochs
    from actlab.stages.train import compose_spec, load_splits
    from actlab.training.trainer import Protocol

    rows = []
    for network in dict.fromkeys(config.network.name for config in configs):
        chosen = [config for config in configs if config.network.name == network]
        splits = load_splits(chosen[0])
        specs = {config.activation.name: compose_spec(config, splits) for config in chosen}
        protocol = Protocol(chosen[0].training, chosen[0].optimizer)
        epochs = chosen[0].timing.block_epochs
        timed = time_epochs(specs, splits.train, protocol, block, epochs)
        rows += [(network, *astuple(epoch)) for epoch in timed]
    return rows


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

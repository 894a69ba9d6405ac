"""Seeds of one configuration -> MLflow: a parent run with one child run per seed, live or at once.

It knows a configuration by its parameters and tags, and its results as one long table, so that any
study whose jobs repeat a measurement over seeds can be published.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from tqdm import tqdm

from actlab.engine.csvs import where
from actlab.engine.interrupts import at_the_latest
from actlab.evidence.statistics import mean_interval, share_interval
from actlab.evidence.summaries import extend_ended
from actlab.tracking.address import format_store_error
from actlab.tracking.store import (
    NOTE,
    WEIGHTS,
    Store,
    connect_to_write,
    digest_of_seeds,
    require_writable,
    sha256,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric
else:  # importing mlflow takes seconds
    Metric = Any

#: Least seconds between two writes of a run; a store that takes longer gets an equally long pause.
PAUSE = 1.0

#: The columns of a table of metrics: `time` is in milliseconds since 1970.
METRICS = ("metric", "step", "value", "time")


@dataclass(frozen=True)
class Record:
    """The results of a configuration so far, for its runs in MLflow.

    Attributes
    ----------
    name, seeds
        The parent run's name, and the seeds that make it complete.
    params
        What it was made with, by dotted keys.
    tags
        What identifies it: parent and children have them, and are found again by them.
    parent_tags
        More tags of the parent.
    metrics
        seed, then `METRICS`: one row per value, those of a later time after those of an earlier
        one. Repeated reading may only append to the rows of a seed.
    began
        When each seed began, in milliseconds since 1970.
    digests
        Of the seeds that are finished, the SHA-256 of their results.
    confidence
        Of the intervals over seeds.
    """

    name: str
    seeds: Sequence[int]
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["seed", *METRICS]))
    began: Mapping[int, int] = field(default_factory=dict)
    digests: Mapping[int, str] = field(default_factory=dict)
    parent_tags: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 0.95

    @property
    def is_complete(self) -> bool:
        """Whether every seed is finished."""
        return set(self.digests) == set(self.seeds)

    def finish_seed(self, seed: int, began: float, **metrics: float) -> "Record":
        """Return the record with a seed that is finished; `began` is in seconds since 1970."""
        ended = round(1000 * time.time())
        rows = [(seed, name, 0, value, ended) for name, value in metrics.items()]
        new = pd.DataFrame(rows, columns=["seed", *METRICS])
        return replace(
            self,
            metrics=new if self.metrics.empty else pd.concat([self.metrics, new]),
            began={**self.began, seed: round(1000 * began)},
            digests={**self.digests, seed: sha256(str(metrics).encode())},
        )


def to_metrics(rows: pd.DataFrame, model_id: str | None = None) -> list[Metric]:
    """Convert rows of `METRICS` to MLflow's metrics, of a model if one is named."""
    from mlflow.entities import Metric

    values = rows[list(METRICS)].itertuples(index=False)
    return [
        Metric(name, float(value), int(ended), int(step), model_id=model_id)
        for name, step, value, ended in values
    ]


def summarise(metrics: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Compute mean, sd and interval over seeds of each metric and step, as rows of `METRICS`.

    What is not finite is left out: one seed has no sd. A seed that ended before others counts on
    with its last value.
    """
    rows = []
    # MLflow's page that compares runs begins with what was written first: the results at step 0.
    ordered = extend_ended(metrics, ["metric"], "step").sort_values("step", kind="stable")
    for key, found in ordered.groupby(["metric", "step"], sort=False):
        name, step = cast(tuple[str, int], key)
        find_interval = share_interval if name.endswith("accuracy") else mean_interval
        interval = find_interval(found["value"].to_list(), confidence)
        for suffix, value in zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True):
            if math.isfinite(value):
                rows.append((f"{name}_{suffix}", step, value, found["time"].max()))
    return pd.DataFrame(rows, columns=list(METRICS))


#: Metrics, parameters and tags of a parent run, from the store, the record and the ids of its runs
#: by seed; None is the parent's.
Completion = Callable[
    [Store, Record, Mapping[int | None, str]],
    tuple[Mapping[str, float], Mapping[str, object], Mapping[str, str]],
]


class Publisher:
    """Brings MLflow to what a run folder holds; publishing again writes only what is new.

    All methods raise what MLflow raises.

    Parameters
    ----------
    read
        Reads the folder.
    complete
        Called before the parent is finished: logs artifacts, and returns further metrics,
        parameters and tags of the parent.
    store
        Opened at the first write if it is not given.
    """

    def __init__(
        self,
        read: Callable[[], Record],
        complete: Completion = lambda store, record, runs: ({}, {}, {}),
        store: Store | None = None,
    ) -> None:
        self._read, self._complete, self._given = read, complete, store
        self._runs: dict[int | None, str] = {}  # by seed; None is the parent
        self._open: list[str] = []
        self._counts: dict[int, int] = defaultdict(int)  # rows of each seed that are written
        self._is_finished = False

    @property
    def has_open_runs(self) -> bool:
        """Whether MLflow has unfinished runs of it."""
        return bool(self._open)

    def publish(self) -> bool:
        """Write what MLflow lacks; return whether it lacked something.

        A record that is complete at once is first looked for, by its tags and digests.
        """
        record = self._read()
        if self._is_finished or record.metrics.empty:
            return False
        is_whole = record.is_complete and not self._runs
        if is_whole and self._store.find_complete(record.tags, record.digests):
            self._is_finished = True
            return False
        for seed in record.seeds:
            self._publish_seed(record, seed)
        if record.is_complete:
            self._finish_parent(record)
        return True

    def publish_once(self) -> bool:
        """Publish, and close the runs if it fails."""
        try:
            return self.publish()
        except BaseException as error:
            with suppress(Exception):  # the first failure is the one to report
                self.close(error)
            raise

    def close(self, error: BaseException | None) -> None:
        """Set what is unfinished to FAILED, described by the error; to KILLED by an interrupt."""
        if not self._open:
            return
        is_failed = error is None or isinstance(error, Exception)
        if is_failed and error is not None:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self._store.write(self._runs[None], tags={NOTE: f"Failed: {cause}"})
        for run in reversed(self._open[:]):  # the parent last
            self._end(run, "FAILED" if is_failed else "KILLED")

    @cached_property
    def _store(self) -> Store:
        return self._given or connect_to_write()

    def _publish_seed(self, record: Record, seed: int) -> None:
        rows = where(record.metrics, seed=seed)
        new = rows.iloc[self._counts[seed] :]
        if new.empty:
            return
        params, tags = {}, {}
        if seed not in self._runs:
            self._create_runs(record, seed)
            params = {**record.params, "seed": seed}
        if is_finished := seed in record.digests:
            tags = {WEIGHTS: record.digests[seed]}
        self._store.write(self._runs[seed], to_metrics(new), params, tags)
        self._counts[seed] = len(rows)
        if is_finished:
            self._end(self._runs[seed], "FINISHED", int(max(new["time"])))

    def _create_runs(self, record: Record, seed: int) -> None:
        """Create the run of a seed, and before the first one the parent."""
        if not self._runs:
            tags = {"actlab.kind": "configuration", **record.tags, **record.parent_tags}
            self._runs[None] = self._create(record.name, tags, min(record.began.values()))
            params = {**record.params, "seeds": ",".join(map(str, record.seeds))}
            params["report.confidence"] = record.confidence
            self._store.write(self._runs[None], params=params)
        tags = {"actlab.kind": "seed", "actlab.seed": str(seed), **record.tags}
        tags["mlflow.parentRunId"] = self._runs[None]
        self._runs[seed] = self._create(f"{record.name}/seed-{seed}", tags, record.began[seed])

    def _create(self, name: str, tags: Mapping[str, str], began: int) -> str:
        run = self._store.create_run(name, tags, began)
        self._open.append(run)
        return run

    def _finish_parent(self, record: Record) -> None:
        """Finish the parent, after all else of it is written."""
        parent, ended = self._runs[None], int(max(record.metrics["time"]))
        totals, params, tags = self._complete(self._store, record, self._runs)
        rows = [(name, 0, value, ended) for name, value in totals.items()]
        more = pd.DataFrame(rows, columns=list(METRICS))
        summary = summarise(record.metrics, record.confidence)
        digest = digest_of_seeds(record.digests)
        tags = {"actlab.outcome": "trained", WEIGHTS: digest, **tags}
        self._store.write(parent, to_metrics(summary) + to_metrics(more), params, tags)
        self._end(parent, "FINISHED", ended)
        self._is_finished = True

    def _end(self, run: str, status: str, end_time: int | None = None) -> None:
        self._store.client.set_terminated(run, status, end_time)
        if run in self._open:
            self._open.remove(run)


class LivePublisher:
    """Publishes while results are written; if the store fails, one warning, and work goes on.

    A context manager. Leaving it early sets what is unfinished to FAILED, or to KILLED by an
    interrupt. With `advice`, the line says how to write later what is lost.
    """

    def __init__(self, publisher: Publisher, advice: bool) -> None:
        self._publisher, self._advice = publisher, advice
        self._due_at = -math.inf
        self.is_lost = False  # whether the store failed: runs are missing or incomplete

    def __enter__(self) -> "LivePublisher":
        self._attempt(require_writable)  # before hours of work, not at its end
        self._cut_off = at_the_latest(lambda: self._publisher.close(KeyboardInterrupt()))
        self._cut_off.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *rest: object) -> None:
        self._attempt(lambda: self._publisher.close(error))
        self._cut_off.__exit__(None, None, None)

    @property
    def is_due(self) -> bool:
        """Whether `PAUSE`, and the duration of the last write, have passed since that write."""
        return not self.is_lost and time.monotonic() >= self._due_at

    def publish(self) -> None:
        """Publish what is new."""
        began = time.monotonic()
        self._attempt(self._publisher.publish)
        ended = time.monotonic()
        self._due_at = ended + max(PAUSE, ended - began)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.is_lost:
            return
        try:
            action()
        except Exception as error:  # as in `address.warn_on_failure`
            self.is_lost = True
            extent = "logged in part only" if self._publisher.has_open_runs else "not logged"
            tqdm.write(format_store_error(error, f"this training is {extent}", self._advice))

"""The section on time: epochs in blocks, one layer alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries, summaries
from actlab.evidence.wording import counted, join, written
from actlab.reporting.report import Grid, Picture, Section, Text, points, run_names
from actlab.reporting.theory_findings import kernel_findings
from actlab.results.study import Study
from actlab.schema import Config


def describe_time(study: Study, findings: Sequence[str], config: Config) -> Section:
    """Tell how long epochs and layers take."""
    times = summaries.epoch_seconds(study).to_dict("records")
    medians = (f"{row['activation']} on {row['network']} {row['median']:.3f} s" for row in times)
    return Section(
        "Time",
        (
            *points(findings, "comparisons.csv"),
            Text(
                (
                    "These times are of a run of their own: in one process, one model at a time on"
                    f" one thread, {counted(config.timing.blocks, 'block')} in which every"
                    " activation has its turn, in an order drawn for the block: the shortest of"
                    f" its {counted(config.timing.block_epochs, 'epoch')} counts."
                    f" {_loads(study)} The figure and the last table below are of the"
                    " trainings themselves, one activation after the other under whatever load the"
                    " machine had: no verdict rests on them.",
                )
            ),
            *points(
                kernel_findings(
                    study,
                    config.timing.kernel_units,
                    config.training.batch_size,
                    config.report.confidence,
                ),
                "tables/kernel_times.csv",
            ),
            _kernel_times(study, config),
            Picture(
                "figures/epoch_seconds.png",
                "Seconds that each epoch took: training alone, without compiling and without"
                " evaluation.",
                f"Time per epoch, median: {'; '.join(medians)}.",
                "tables/epoch_seconds.csv",
            ),
            Grid(
                "Seconds. Compiling is once a thread, before its first epoch. Models side by side"
                " share the machine, each on one thread.",
                (
                    "Network",
                    "Activation",
                    "Median epoch",
                    "Middle half",
                    "Compiling",
                    "Models at once",
                ),
                tuple(
                    (
                        row["network"],
                        row["activation"],
                        f"{row['median']:.3f}",
                        f"{row['quartile_low']:.3f} to {row['quartile_high']:.3f}",
                        f"{row['compile_seconds']:.1f}",
                        row["models_at_once"],
                    )
                    for row in times
                ),
                words=2,
                data="tables/epoch_seconds.csv",
                runs=run_names(times),
            ),
        ),
    )


def _loads(study: Study) -> str:
    parts = [f"on {name} {_load(where(study.blocks, network=name))}" for name in study.networks]
    return f"Load of the machine meanwhile: {'; '.join(parts)}."


def _load(timed: pd.DataFrame) -> str:
    low, median, high = np.quantile(timed["load"].to_numpy(dtype=float), [0, 0.5, 1])
    return f"median {written(float(median))}, {written(float(low))} to {written(float(high))}"


def _kernel_times(study: Study, config: Config) -> Grid:
    rows = layer_summaries.kernel_times(study, config.report.confidence).to_dict("records")
    return Grid(
        f"One dense layer alone, {counted(config.timing.kernel_units, 'unit')} and as many inputs,"
        f" on a batch of {config.training.batch_size} inputs from a standard normal distribution,"
        " in one process on one thread: forward is the activation of inputs times kernel plus"
        " bias; backward gives the derivatives by kernel, bias and inputs from kept"
        " pre-activations; elementwise is the activation without the layer. Geometric means over"
        f" {counted(rows[0]['blocks'], 'block')}, a measurement divided by its repetitions, one"
        f" behind the other: {_repetitions(rows)}; ratios to {study.activations[0]} within blocks,"
        " their intervals widened for the number of activations. Load of the machine meanwhile:"
        f" {_load(study.kernels)}.",
        (
            "Operation",
            "Activation",
            "µs",
            "Ratio",
            f"{100 * config.report.confidence:g} % interval",
        ),
        tuple(
            (
                row["operation"],
                row["activation"],
                written(1e6 * row["seconds"], 3),
                written(row["geometric_mean"], 3),
                f"{written(row['low'], 3)} to {written(row['high'], 3)}"
                if math.isfinite(row["low"])
                else "",
            )
            for row in rows
        ),
        words=2,
        data="tables/kernel_times.csv",
    )


def _repetitions(rows: Iterable[Mapping[Any, Any]]) -> str:
    of = {row["operation"]: row["repetitions"] for row in rows}
    return join(f"{count:,} {operation}" for operation, count in of.items())

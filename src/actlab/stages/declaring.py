"""The declaration of a study that adds seeds, made from its configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.engine.validation import Seed, Whole, validate
from actlab.errors import UserError
from actlab.evidence import claims, settling
from actlab.evidence.comparisons import METRICS, SCORES, primary_metric
from actlab.evidence.decisions import FIRST_LOOK, STEP
from actlab.evidence.settled import make_study
from actlab.evidence.settling import Declaration
from actlab.evidence.wording import join
from actlab.reporting.provenance import ask_git
from actlab.results.study import ACTIVATION, NETWORK, Study, parameters
from actlab.schema import Config


def declare(
    configs: Sequence[Config], swept: Sequence[str], name: str, options: Mapping[str, Any]
) -> tuple[Declaration, list[int]]:
    """Make the declaration of a study from its configurations and options.

    Its configurations are sorted by their keys, by values in their order; their places in `configs`
    are returned too.
    """
    from actlab.tracking import runs

    if len(configs) < 2:
        raise UserError("there is one configuration: a comparison takes two or more")
    first = validate(Seed, options["first_seed"], "hydra.sweeper.first_seed")
    most, processes = (
        validate(Whole, options[name], f"hydra.sweeper.{name}")
        for name in ("most_seeds", "processes")
    )
    if options["timed"] and processes < FIRST_LOOK:
        raise UserError(
            f"hydra.sweeper.processes is {processes}: times have an interval from {FIRST_LOOK} on"
        )
    if most < FIRST_LOOK or (most - FIRST_LOOK) % STEP:
        raise UserError(
            f"hydra.sweeper.most_seeds is {most}: it has to be {FIRST_LOOK} or a multiple of {STEP}"
            " more"
        )
    keys, configurations, fixed = runs.describe_configurations(
        [parameters(vars(config)) for config in configs], swept
    )
    orders = {key: list(dict.fromkeys(row[key] for row in configurations)) for key in keys}
    places = sorted(
        range(len(configs)),
        key=lambda place: [orders[key].index(configurations[place][key]) for key in keys],
    )
    configurations = [configurations[place] for place in places]
    report = asdict(configs[0].report)
    declaration = Declaration(
        name=name,
        metrics=[],
        claims={},
        first_seed=first,
        most_seeds=most,
        timed=list(options["timed"] or []),
        processes=processes if options["timed"] else 0,
        report=report,
        families={},
        keys=keys,
        configurations=configurations,
        fixed=fixed,
    )
    study = make_study(declaration, pd.DataFrame(columns=[*keys, *SCORES]))
    metrics = options["metrics"] or [primary_metric(study)]
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    measured = _list_metrics(study)
    if unknown := [metric for metric in metrics if metric not in measured]:
        raise UserError(
            f"hydra.sweeper.metrics has {unknown[0]!r}: it has to be some of {', '.join(measured)}"
        )
    if unknown := [timed for timed in declaration.timed if timed not in study.networks]:
        raise UserError(
            f"hydra.sweeper.timed has {unknown[0]!r}: it has to be some of the networks that are"
            f" swept, {join(study.networks or ['of which there are none'])}"
        )
    rules = {}
    if options["claims"]:
        if keys != [NETWORK, ACTIVATION]:
            raise UserError(
                "hydra.sweeper.claims is true, and the claims are about activations on networks:"
                f" sweep network and activation alone, not {join(keys)}"
            )
        rules = {claim.name: claim.rule for claim in claims.CLAIMS if claim.role == "primary"}
    families = settling.count_families(study)
    return replace(declaration, metrics=metrics, claims=rules, families=families), places


def find_commit(path: Path) -> tuple[str, str]:
    """Return the commit of a file as it is now, and its time; empty if it is not committed."""
    if ask_git(Path.cwd(), "status", "--porcelain", "--", str(path)):
        return "", ""
    found = ask_git(Path.cwd(), "log", "-1", "--format=%H %cI", "--", str(path)) or ""
    commit, _, committed = found.partition(" ")
    return commit, committed


def _list_metrics(study: Study) -> list[str]:
    """List the metrics that seeds of a study have, and by which its pairs can be compared."""
    chosen = (
        ("val_mse", "test_mse")
        if study.is_regression
        else ("val_accuracy", "test_accuracy", "test_loss", "calibration_error", "epochs_to_target")
    )
    return [
        name
        for name in chosen
        if (study.has_held_out or not name.startswith("val_"))
        and not set(METRICS[name].at_equal) & set(study.keys)
    ]

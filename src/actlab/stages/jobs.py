"""A job of a sweep: train one configuration, unless MLflow has it finished."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from actlab.data.datasets import OwnFiles, load_definition
from actlab.engine.locks import training_lock
from actlab.engine.project import Outcome
from actlab.engine.sweeping import count_cores, format_error
from actlab.errors import UserError
from actlab.evidence.wording import counted
from actlab.results.identity import fingerprint
from actlab.schema import Config
from actlab.tracking import publish
from actlab.tracking.address import format_store_error
from actlab.tracking.store import UNCOMMITTED, connect_to_write, sweep_tags


def provide_own(config: Config) -> None:
    """Convert a user's own files, if they have changed: the fingerprint has their digests."""
    if isinstance(load_definition(config.data.name), OwnFiles):
        from actlab.data.raw import provide_raw

        provide_raw(config.data.name, Path(config.paths.raw))


def train_once(train: Callable[..., Any], config: Config, job: str) -> Outcome:
    """Train a configuration, unless MLflow has it finished.

    A lock per fingerprint keeps two processes from training the same configuration.
    """
    provide_own(config)
    digest = fingerprint(config)
    with training_lock(config.paths.checkpoints, digest, job) as checkpoints:
        try:
            store = connect_to_write()
            found = None if config.force else store.find_finished(digest)
            declared = config.declaration or UNCOMMITTED
            is_free = declared.endswith(UNCOMMITTED)  # nothing is said of what is older
            if found and (is_free or found.declaration == declared):
                store.write(found.run, tags=sweep_tags(config.sweep, config.declaration))
                shutil.rmtree(checkpoints, ignore_errors=True)  # left by a kill before this
                print(f"{job}: skipped, MLflow has it finished (force=true trains again)")
                return Outcome("skipped", found.objective, 0.0)
        except Exception as error:  # MLflow lets through what its server or its database raises
            line = format_store_error(error, "nothing is trained", advice=False)
            raise UserError(line) from error
        if found:
            raise UserError(
                "these seeds were trained before the rules were declared, so that the rules cannot"
                " be older than the data: take others, hydra.sweeper.first_seed=..., in a study of"
                " its own, sweep=..."
            )
        if config.force:
            shutil.rmtree(checkpoints, ignore_errors=True)
        if config.models_at_once is None:
            config = replace(config, models_at_once=count_cores())
        try:
            trained = train(config, job)
        except Exception as error:
            with suppress(Exception):  # the first failure is the one to report
                publish.record_failure(store, config, digest, format_error(error))
            raise
    if not trained.is_logged:
        raise UserError("trained, but MLflow lacks it: run this again when the store is well")
    if trained.diverged:
        cause = f"{len(trained.diverged)} of {counted(len(config.seeds), 'seed')}"
        return Outcome("diverged", trained.objective, 0.0, cause)
    return Outcome("done", trained.objective, 0.0)

"""A configuration -> a digest of all that decides what its training gives.

Two trainings with one fingerprint give the same weights to the bit on the same machine: a sweep
that is started again skips what it finds finished.
"""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from actlab.data.datasets import DATASETS
from actlab.stages.schema import Config

#: The modules that compute a training or take it up again, by their files in the package;
#: `tests/test_fingerprint.py` holds them to what these import.
CODE = (
    "activations.py",
    "checkpoints.py",
    "config.py",
    "datasets.py",
    "errors.py",
    "layout.py",
    "meanfield.py",
    "model.py",
    "outputs.py",
    "own.py",
    "runtime.py",
    "stages/train.py",
    "statistics.py",
    "tables.py",
    "training.py",
)

#: The modules that describe, log, lock or compose. No stage of dvc.yaml but the report depends on
#: them, since nothing that it computes does: an edit there runs no training again.
APART = (
    "beside.py",
    "fingerprint.py",
    "locks.py",
    "logged_model.py",
    "notes.py",
    "progress.py",
    "publish.py",
    "publish_study.py",
    "stages/command.py",
    "stages/interrupts.py",
    "store.py",
    "tracking.py",
)

#: The packages whose arithmetic it is.
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scipy")


def fingerprint(config: Config) -> str:
    """Give the SHA-256 of a configuration's values, its data, and the code that computes with them.

    Not in it: where files are, what a sweep is called, how the report speaks, and what changes no
    result, such as how many models train side by side. The raw files are in it by the digests that
    they are held to whenever they are read.
    """
    held = {name: asdict(getattr(config, name)) for name in ("data", "model", "training")}
    held |= {name: asdict(getattr(config, name)) for name in ("activation", "network")}
    held |= {"seeds": list(config.seeds), "code": code_of(config)}
    held["files"] = {file.name: file.sha256 for file in DATASETS[config.data.name].files}
    return _digest(held)


def code_of(config: Config) -> str:
    """Give the SHA-256 of the code that computes, of its packages, and of a user's own sources.

    What a user's own function imports from elsewhere is not followed.
    """
    held: dict[str, object] = {"code": _code(), "packages": _packages()}
    if config.activation.is_own:
        from actlab.activations.definitions.functions import (
            digest_sources,  # which imports it, and TensorFlow with it
        )

        held["own"] = digest_sources(config.activation.function)
    return _digest(held)


def _digest(held: object) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    package = Path(__file__).parent
    return hashlib.sha256(b"".join((package / name).read_bytes() for name in CODE)).hexdigest()


@cache
def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # one of TensorFlow's two names
            continue
    return found

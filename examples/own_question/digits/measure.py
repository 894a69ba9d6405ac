"""The accuracy of scikit-learn's classifiers on 8 x 8 digits, by the number of training images.

`python -m digits.measure -m sweep=digits` runs the study of conf/hydra/sweeper/grid.yaml.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from actlab.engine import command
from actlab.engine.fingerprint import digest, digest_sources, find_versions
from actlab.engine.locks import training_lock
from actlab.engine.project import Outcome, Project
from actlab.engine.validation import Count, Name, Seeds, one_of, section
from actlab.evidence.config import ReportConfig
from actlab.tracking.address import format_store_error
from actlab.tracking.publisher import Publisher, Record
from actlab.tracking.store import connect_to_write, sweep_tags

CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "bayes": lambda seed: GaussianNB(),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "neighbors": lambda seed: KNeighborsClassifier(3),
}


@section
class Config:
    """A configuration: the values of params.yaml, and three keys that every sweep has."""

    classifier: Annotated[str, one_of(CLASSIFIERS)]
    images: Annotated[Count, Field(ge=20, le=1200)]
    seeds: Seeds
    report: ReportConfig
    sweep: Name | None
    force: bool
    models_at_once: Count | None


def classify(config: Config, seed: int) -> float:
    """Train on images drawn by the seed; return the accuracy on 500 others."""
    split = {"train_size": config.images, "test_size": 500, "random_state": seed}
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(images, labels, **split)
    return CLASSIFIERS[config.classifier](seed).fit(train, train_labels).score(test, test_labels)


def fingerprint(config: Config) -> str:
    """Digest all that decides the result: values, code, packages."""
    code = digest_sources(Path(__file__).parent, ["measure.py"])
    versions = find_versions(("numpy", "scikit-learn"))
    return digest([config.classifier, config.images, config.seeds, code, versions])


def measure(config: Config, job: str = "alone") -> None:
    """Measure one seed after the other, and publish each to MLflow at once."""
    record = Record(
        name=f"{config.classifier}/{config.images}",
        seeds=config.seeds,
        params={"classifier": config.classifier, "images": config.images},
        tags={"actlab.fingerprint": fingerprint(config)},
        parent_tags=sweep_tags(config.sweep),
        confidence=config.report.confidence,
    )
    publisher = Publisher(lambda: record)
    for seed in config.seeds:
        began = time.time()
        record = record.finish_seed(seed, began, test_accuracy=classify(config, seed))
        publisher.publish()
    print(f"{job}: mean test accuracy {record.metrics['value'].mean():.2%}", flush=True)


def run_once(stage: Callable[..., Any], config: Config, job: str) -> Outcome:
    """Run a job, unless MLflow has it finished; another process that runs it is waited for."""
    with training_lock("checkpoints", fingerprint(config), job):
        store = connect_to_write()
        if not config.force and store.find_finished(fingerprint(config)):
            return Outcome("skipped", None, 0.0)
        stage(config, job)
        return Outcome("done", None, 0.0)


PROJECT = Project(
    schema=Config,
    run_once=run_once,
    connect=connect_to_write,
    explain_store=lambda error, loss: format_store_error(error, loss, advice=False),
    train="digits.measure",
    compare="digits.compare",
)

if __name__ == "__main__":
    command.run(measure, PROJECT, sweepable=True)

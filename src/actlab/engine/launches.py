"""Launches of sweeps, recorded in MLflow when they start.

A launch is named after its sweep and numbered: `fair.launch1`. That name, in a fair sweep with the
job's role (`fair.launch1.tuned`), is the `sweep` of every job, and so a tag of its run. The latest
launch of a sweep is a tag of the experiment, `actlab.sweep.<name>`. Starting the same grid again
continues its launch; another grid under the same name is the next launch.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: The roles of jobs in a fair sweep.
ROLES = ("selection", "baseline", "tuned")


@dataclass(frozen=True)
class Launch:
    """One launch of a sweep.

    Attributes
    ----------
    sweep, number
        The sweep's name, and the launch's number, from 1.
    keys
        The keys that have several values, as in Hydra's overrides.
    tuned_for
        In a fair sweep, the key for each of whose values a setting of the others is chosen.
    grid
        A digest of the jobs.
    """

    sweep: str
    number: int
    keys: Sequence[str]
    tuned_for: str | None
    grid: str

    def name(self, role: str = "") -> str:
        """Return the `sweep` of a job.

        >>> Launch("fair", 1, ["activation"], "activation", "").name("tuned")
        'fair.launch1.tuned'
        """
        return f"{self.sweep}.launch{self.number}{'.' if role else ''}{role}"

    @property
    def is_fair(self) -> bool:
        """Whether settings were chosen for each value of a key."""
        return self.tuned_for is not None

    def roles(self, tags: Collection[str]) -> list[str]:
        """List the roles that a run has in this launch, by its tags; "" if it is not fair."""
        roles = ROLES if self.is_fair else ("",)
        return [role for role in roles if f"sweep.{self.name(role)}" in tags]


def load_launch(store: Any, sweep: str) -> Launch | None:
    """Load the latest launch of a sweep from a `tracking.Store`; None if there is none."""
    recorded = store.client.get_experiment(store.experiment).tags.get(f"actlab.sweep.{sweep}")
    return Launch(**json.loads(recorded)) if recorded else None


def record_launch(
    store: Any, sweep: str, keys: Sequence[str], tuned_for: str | None, grid: str
) -> Launch:
    """Record and return a launch of a sweep, unless it continues the latest."""
    latest = load_launch(store, sweep)
    if latest and latest.grid == grid:
        return latest
    number = latest.number + 1 if latest else 1
    launch = Launch(sweep, number, list(keys), tuned_for, grid)
    recorded = json.dumps(asdict(launch))
    store.client.set_experiment_tag(store.experiment, f"actlab.sweep.{sweep}", recorded)
    return launch


def is_selection(tags: Collection[str]) -> bool:
    """Return whether a run, by its tags, only served to choose settings in fair sweeps.

    >>> is_selection(["sweep.fair", "sweep.fair.launch1", "sweep.fair.launch1.selection"])
    True
    """
    names = {tag for tag in tags if tag.startswith("sweep.")}
    own = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return bool(own) and all(name.endswith(".selection") for name in own)

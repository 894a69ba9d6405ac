"""Launches of sweeps: MLflow records what each was launched with when it starts.

A launch is named after its sweep and numbered: `fair.launch1`. That name, in a fair sweep followed
by the job's role (`fair.launch1.tuned`), is the `sweep` of every job, and so a tag of its run. What
else is known of a sweep's latest launch is a tag of the experiment, `actlab.sweep.<name>`.

The same grid launched again continues its launch; another grid under the same name is the next
launch.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: What a job of a fair sweep is trained for.
ROLES = ("selection", "baseline", "tuned")


@dataclass(frozen=True)
class Launch:
    """One launch of a sweep.

    Attributes
    ----------
    sweep, number
        The sweep's name, and which launch under that name this is, from 1.
    keys
        The keys that have several values, by the names that Hydra's overrides give them.
    tuned_for
        In a fair sweep, the one of them for each of whose values a setting of the others is chosen.
    grid
        A digest of all that its jobs were asked for.
    """

    sweep: str
    number: int
    keys: Sequence[str]
    tuned_for: str | None
    grid: str

    def name(self, role: str = "") -> str:
        """Give the name that a job bears as its `sweep`.

        >>> Launch("fair", 1, ["activation"], "activation", "").name("tuned")
        'fair.launch1.tuned'
        """
        return f"{self.sweep}.launch{self.number}{'.' if role else ''}{role}"

    @property
    def is_fair(self) -> bool:
        """Whether settings were chosen for each value of a key."""
        return self.tuned_for is not None

    def roles(self, tags: Collection[str]) -> list[str]:
        """Give the roles that a run has in this launch, by its tags: several, one, or none.

        The only role in a sweep that is not fair is the empty text.
        """
        roles = ROLES if self.is_fair else ("",)
        return [role for role in roles if f"sweep.{self.name(role)}" in tags]


def load_launch(store: Any, sweep: str) -> Launch | None:
    """Read the latest launch of a sweep from a `tracking.Store`; None where none is recorded."""
    recorded = store.client.get_experiment(store.experiment).tags.get(f"actlab.sweep.{sweep}")
    return Launch(**json.loads(recorded)) if recorded else None


def record_launch(
    store: Any, sweep: str, keys: Sequence[str], tuned_for: str | None, grid: str
) -> Launch:
    """Record a launch as the latest of its sweep, unless it continues that one; give it."""
    latest = load_launch(store, sweep)
    if latest and latest.grid == grid:
        return latest
    number = latest.number + 1 if latest else 1
    launch = Launch(sweep, number, list(keys), tuned_for, grid)
    recorded = json.dumps(asdict(launch))
    store.client.set_experiment_tag(store.experiment, f"actlab.sweep.{sweep}", recorded)
    return launch


def is_selection(tags: Collection[str]) -> bool:
    """Tell from its tags whether a run served to choose the settings of fair sweeps, and no more.

    >>> is_selection(["sweep.fair", "sweep.fair.launch1", "sweep.fair.launch1.selection"])
    True
    """
    names = {tag for tag in tags if tag.startswith("sweep.")}
    own = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return bool(own) and all(name.endswith(".selection") for name in own)

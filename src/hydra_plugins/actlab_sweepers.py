"""The sweepers of `actlab.engine.sweepers`; Hydra accepts sweepers of this package only."""

from actlab.engine import sweepers


class GridSweeper(sweepers.GridSweeper):
    """Every combination."""


class FairSweeper(sweepers.FairSweeper):
    """The best setting for each value of one key, then a comparison on fresh seeds."""


class OptunaSweeper(sweepers.OptunaSweeper):
    """Optuna."""


class SettleSweeper(sweepers.SettleSweeper):
    """More seeds until the verdicts are decided."""

"""Where Hydra looks for sweepers: those of `actlab.engine.sweepers`."""

from actlab.engine.sweepers import FairSweeper, GridSweeper, OptunaSweeper

__all__ = ["FairSweeper", "GridSweeper", "OptunaSweeper"]

"""The functions of `import actlab`, for notebooks: load, build, fit, probe, compare, plot.

Each function validates its arguments, calls the same core as the pipeline, and returns a table, a
model or a figure. Only a data set that is downloaded is written to disk.
"""

from actlab.api.arguments import activation
from actlab.api.comparing import compare
from actlab.api.data import Data, load_data
from actlab.api.fitting import Fit, build, fit, probe
from actlab.api.plots import plot_curves, plot_functions, plot_gradients, plot_health, plot_images

__all__ = [
    "Data",
    "Fit",
    "activation",
    "build",
    "compare",
    "fit",
    "load_data",
    "plot_curves",
    "plot_functions",
    "plot_gradients",
    "plot_health",
    "plot_images",
    "probe",
]

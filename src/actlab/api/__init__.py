"""The functions of `import actlab`, for notebooks: load, build, fit, probe, compare, settle, plot.

Each function validates its arguments, calls the same core as the pipeline, and returns a table, a
model or a figure. Only a data set that is downloaded is written to disk.
"""

from actlab.api.arguments import activation as activation
from actlab.api.arguments import initializer as initializer
from actlab.api.arguments import optimizer as optimizer
from actlab.api.comparing import compare as compare
from actlab.api.data import Data as Data
from actlab.api.data import from_arrays as from_arrays
from actlab.api.data import load_data as load_data
from actlab.api.fitting import Fit as Fit
from actlab.api.fitting import build as build
from actlab.api.fitting import fit as fit
from actlab.api.fitting import probe as probe
from actlab.api.histories import curves as curves
from actlab.api.plots import plot_curves as plot_curves
from actlab.api.plots import plot_functions as plot_functions
from actlab.api.plots import plot_gradients as plot_gradients
from actlab.api.plots import plot_health as plot_health
from actlab.api.plots import plot_images as plot_images
from actlab.api.settling import Settled as Settled
from actlab.api.settling import settle as settle
from actlab.data.splits import Split as Split

"""The columns of the CSVs of the pipeline and of a comparison, and how they are read."""

from pathlib import Path

import pandas as pd

from actlab.engine import csvs

#: One row per point; `results/activations/<activation>/curve.csv`.
CURVE = ("x", "value", "derivative")

#: One row per measured value; `results/gradients.csv`. `epoch` 0 is before training; `layer` is
#: hidden_1, hidden_2, ..., output; `probe` is notebook (the first 32 training images) or test
#: (2,048 test images); `statistic` is one of `gradients.STATISTICS` or of `HEALTH`.
GRADIENTS = (
    *("activation", "network", "seed", "epoch", "layer"),
    *("probe", "statistic", "value"),
)

#: The statistics of a layer's health (`gradients.summarise_health`), of the probe test alone. The
#: output layer has none of its activation.
HEALTH = (
    "backprop_rms",
    *("preactivation_mean", "preactivation_variance"),
    *("activation_mean", "activation_variance"),
    *("saturated_fraction", "dead_fraction"),
    *("one_sign_fraction", "one_sign_batch_fraction"),
)

#: One row per bin; `results/preactivations.csv`. The density is that of the pre-activations
#: of a hidden layer, over all seeds, units and images of the probe test.
PREACTIVATIONS = ("activation", "network", "epoch", "layer", "bin_low", "bin_high", "density")

#: One row per activation and block; `timings/blocks.csv`. A block is a process of its own, in which
#: each activation on a network has its turn, whose shortest epoch counts; `place` is its place in
#: the block's order, from 0; `load` the machine's average of the last minute, in processes that run
#: or wait.
BLOCKS = ("network", "block", "place", "activation", "epoch_seconds", "load")

#: One row per measurement of a dense layer alone; `timings/kernels.csv`. `operation` is one of
#: `kernels.OPERATIONS`; `seconds` are per repetition; block, place and load as in `BLOCKS`.
KERNELS = ("operation", "block", "place", "activation", "repetitions", "seconds", "load")

#: One row per pair of configurations and metric; `comparisons.csv` of a report, after a column for
#: each key in which the two of a pair are equal. `first` and `second` are values of `key` (empty:
#: several keys differ). Differences are first minus second: fractions, nats, epochs, or for
#: epoch_seconds the natural logarithm of a ratio; `verdict` is on the first, and is read from low,
#: high and margin. low, high, p and p_equivalence are adjusted for all pairs of a family.
COMPARED = (
    *("key", "metric", "first", "second"),
    *("pairs", "pairs_censored"),
    *("mean", "sd", "least", "most", "effect_size", "low", "high", "margin", "p", "p_equivalence"),
    *("verdict", "pairs_needed"),
    *("new_images_low", "new_images_high", "new_images_verdict"),
)

#: One row per class of a split; `reports/data/class_counts.csv`.
CLASS_COUNTS = ("split", "label", "images")


#: One row per ratio of neighbouring hidden layers in an untrained network of one seed;
#: `results/theory/ratios.csv` (`untrained.measure_ratios`). `layer` all is the geometric mean over
#: the layers. Where the interval of the geometric mean over seeds lies in the band, theory and
#: measurement agree. `kernel_initializer` is what `initializer` resolves to.
THEORY_RATIOS = (
    *("activation", "initializer", "kernel_initializer"),
    *("layer", "direction", "seed"),
    *("predicted", "band_low", "band_high", "ratio"),
)

#: One row per activation with an initializer; `results/theory/mean_field.csv`: sigma_w^2, E[phi^2],
#: E[phi'^2] (both of a standard normal), max |phi'|, q* (0: the signal vanishes, inf: it
#: diverges), chi_1 and xi = -1 / ln(chi_1) in layers (negative: the gradient grows).
MEAN_FIELD = (
    *("activation", "initializer", "kernel_initializer"),
    *("sigma_w2", "sigma_b2", "value_gain", "slope_gain", "steepest_slope"),
    *("q_star", "chi_1", "depth_scale"),
)

#: One row per rule of a claim of the notebook; `reports/claims.csv` (`claims.Claim`,
#: `outcomes.Outcome`). `role` is primary, or sensitivity for another way of measuring the claim of
#: the primary row before it. `estimate`, low and high are the decisive estimate in `unit`; `seeds`
#: is how many it is of.
CLAIMS = (
    *("name", "role", "claim", "section", "measured", "rule", "network"),
    *("verdict", "estimate", "low", "high", "unit", "seeds", "numbers"),
)

#: One row per activation; `results/theory/moments.csv` (`theory.activation_moments`).
MOMENTS = ("activation", "mean", "variance")

#: One row per configured network with an activation that is 0 for every negative number;
#: `results/theory/born_dead.csv` (`theory.born_dead_probability`).
BORN_DEAD = ("activation", "network", "probability")

#: Columns whose cells are text, even where a name reads "nan" or "NA".
_TEXT = {
    *("activation", "network", "layer", "probe", "statistic", "split"),
    "verdict",
    *("initializer", "kernel_initializer", "direction", "operation"),
    *("name", "role", "claim", "section", "measured", "rule", "unit", "numbers"),
    "agrees",
}


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV with the columns of one of this module's tuples; see `csvs.read_table`."""
    return csvs.read_table(path, columns, _TEXT)

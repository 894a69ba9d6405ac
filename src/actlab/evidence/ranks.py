"""Rank correlation over seeds, and the p-value of its mean by permutations."""

import math
from itertools import permutations

import numpy as np
from jaxtyping import Float
from scipy import stats

#: Orders of so many activations are gone through one by one: 40,320.
MOST_EXACT = 8


def rank_correlation(
    first: Float[np.ndarray, " runs"], second: Float[np.ndarray, " runs"]
) -> float:
    """Give Spearman's rho; 0 where either has all values tied, for then nothing is ordered.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 9.0, 4.0]))
    -0.866...
    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 9.0, 9.0]))
    0.0
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    ranks = [stats.rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    size = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / size if size else 0.0


def permutation_p(
    gradients: Float[np.ndarray, "activations seeds"],
    epochs: Float[np.ndarray, "activations seeds"],
) -> float:
    """Give the two-sided p-value of the mean rho over seeds, with the activation as the unit.

    The gradients are given to the activations in every other order, the same for all seeds (of
    more than eight activations in 9,999 drawn orders): p is the share of orders, the observed
    one among them, whose mean rho is as far from 0.

    >>> ranks = np.arange(5.0)[:, None]
    >>> permutation_p(ranks, ranks) == 2 / 120
    True
    """
    count = len(gradients)
    if count <= MOST_EXACT:
        orders = np.array(list(permutations(range(count))))
    else:
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(count) for _ in range(9999)]
        orders = np.array([np.arange(count), *drawn])
    centred = [stats.rankdata(each, axis=0) - (count + 1) / 2 for each in (gradients, epochs)]
    sizes = [np.sqrt((each**2).sum(axis=0)) for each in centred]
    first, second = (
        each / np.where(size > 0, size, 1.0) for each, size in zip(centred, sizes, strict=True)
    )
    # Entry (i, j): what the gradient of i adds to the mean rho where j has it.
    added = (first[:, None, :] * second[None, :, :]).mean(axis=2)
    means = np.abs(added[orders, np.arange(count)].sum(axis=1))
    return float((means >= means[0] - 1e-12).mean())

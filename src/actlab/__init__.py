"""What the choice of activation function does to a network, measured.

In a notebook, `import actlab` gives the functions of `api`:

    mnist = actlab.load_data("mnist")
    fitted = actlab.fit(["sigmoid", "relu"], mnist, hidden="8x64", seeds=range(3), epochs=3)
    actlab.compare(fitted)
    actlab.plot_gradients(actlab.probe(fitted, mnist))

They import what they need when they are used: `import actlab` itself imports nothing.

=============  ==============================================================
`engine`       commands, sweeps, locks, atomic files, fingerprints; no domain
`backend`      TensorFlow and Keras as actlab runs them
`activations`  definitions; values and derivatives, also of a user's own
`data`         data sets, download, splits
`models`       networks, initializers, weights
`training`     the compiled epoch, seeds in parallel, checkpoints
`probes`       gradients, unit health, mean-field theory, times of a layer
`results`      run folders, columns of CSVs, tables of a study
`evidence`     summaries, intervals, comparisons, claims
`schema`       the whole configuration, from the sections of the packages
`tracking`     MLflow: written, read, its pages and registry
`reporting`    figures, sentences, sections, HTML and Markdown
`stages`       the commands that DVC and Hydra run
`api`          what `import actlab` gives a notebook
=============  ==============================================================
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actlab.api import (
        Data,
        Fit,
        Settled,
        Split,
        activation,
        build,
        compare,
        curves,
        fit,
        from_arrays,
        initializer,
        load_data,
        optimizer,
        plot_curves,
        plot_functions,
        plot_gradients,
        plot_health,
        plot_images,
        probe,
        settle,
    )
    from actlab.errors import UserError

__all__ = [
    "Data",
    "Fit",
    "Settled",
    "Split",
    "UserError",
    "activation",
    "build",
    "compare",
    "curves",
    "fit",
    "from_arrays",
    "initializer",
    "load_data",
    "optimizer",
    "plot_curves",
    "plot_functions",
    "plot_gradients",
    "plot_health",
    "plot_images",
    "probe",
    "settle",
]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'actlab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("actlab.errors" if name == "UserError" else "actlab.api"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]

"""What the choice of activation function does to a network, measured.

In a notebook, `import actlab` gives the functions of `library`:

    mnist = actlab.load_data("mnist")
    fitted = actlab.fit(["sigmoid", "relu"], mnist, hidden="8x64", seeds=range(3), epochs=3)
    actlab.compare(fitted)
    actlab.plot_gradients(actlab.probe(fitted, mnist))

They import what they need when they are used: `import actlab` itself imports nothing.

A map of the modules, in the order of the data:

=================  ==========================================================
`config`           the dataclasses that every configuration is checked against
`sources`          where the raw files come from
`datasets`         raw idx bytes -> arrays, verified against their digests
`activations`      each activation: formula, range, constants, initialiser
`own`              an activation's function: found, evaluated, differentiated, checked
`descriptions`     cached metadata per activation
`model`            an activation and a network -> a Keras model
`training`         models and images -> histories, one compiled program an epoch
`checkpoints`      what is kept of a training, so that it goes on after a kill
`layout`           the run folder: the files that a training leaves, and what they hold
`kernels`          a dense layer with an activation -> how long its passes take alone
`gradients`        a model and a batch -> the gradient and health of every layer
`meanfield`        what a wide random layer makes of a signal's variance
`theory`           an activation and an initialiser -> what a deep network does to a signal
`initialisation`   an untrained network -> what its layers do to a signal
`fingerprint`      a configuration -> a digest of all that decides what its training gives
`progress`         how far a training is, on a terminal or in a log
`statistics`       values over seeds -> means and intervals
`tables`           the columns of every CSV; reading and writing them
`study`            configurations that differ in a few keys, as tidy tables
`runs`             finished runs of MLflow -> a study
`comparisons`      a study -> scores, which pairs are compared, verdicts
`summaries`        a study -> means and intervals over seeds
`claims`           the table of claims: those of the teaching notebook, with verdicts
`look`             how every figure looks; the parts that figures are made of
`figures`          tables -> figures: curves, accuracy, differences, time
`layer_figures`    tables -> figures of layers: gradients, health, theory
`drawings`         a study -> the figures that fit its keys and tables
`charts`           tables -> the report's interactive charts
`provenance`       what reproduces a report: commit, inputs, versions, machine
`wording`          how numbers and lists are written
`findings`         a study -> sentences that say no more than the numbers
`layer_findings`   the same of layers: gradients, health, theory
`sections`         a study and what follows from it -> a report
`layer_sections`   the sections that the pipeline alone has
`report`           a report -> Markdown and HTML
`store`            MLflow's store: where it is, what is said when it fails
`publish`          a run folder -> MLflow, while it is trained and afterwards
`logged_model`     the model that MLflow keeps of a run
`publish_study`    gradients, report and comparisons -> MLflow
`tracking`         finished runs <- MLflow
`notes`            what MLflow's pages say of runs and models
`views`            columns and charts of MLflow's pages, behind a link
`registry`         models -> MLflow's registry, with aliases; which one is served
`overview`         finished runs -> those pages and that registry, brought up to date
`sync`             what is on the disk -> MLflow, where it lacks that
`serving`          a registered model, served on this machine
`stages`           the commands that DVC and Hydra run
`library`          what a notebook calls: the core, with arguments in place of files
=================  ==========================================================

`runtime` is TensorFlow as actlab runs it, `outputs` writes files whole or not
at all, `locks` lets one process at a time train a configuration, `errors`
holds what a person at the keyboard can mend, `beside` shares work with another
process.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actlab.api import (
        Data,
        Fit,
        activation,
        build,
        compare,
        fit,
        load_data,
        plot_curves,
        plot_functions,
        plot_gradients,
        plot_health,
        plot_images,
        probe,
    )
    from actlab.errors import UserError

__all__ = [
    "Data",
    "Fit",
    "UserError",
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


def __getattr__(name: str) -> object:
    """Import a public name where it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'actlab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("actlab.errors" if name == "UserError" else "actlab.api"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]

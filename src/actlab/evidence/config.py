"""The section `report` of a configuration: how differences are decided."""

from actlab.engine.validation import Fraction, Positive, section


@section
class ReportConfig:
    """How the report quantifies uncertainty, and which differences do not matter.

    Attributes
    ----------
    confidence
        Level of every interval; one minus it bounds the error rate of the verdicts.
    target_accuracy
        Validation accuracy, a fraction: epochs are counted until it is reached.
    equivalence_margin
        Largest difference in test accuracy and calibration error that does not matter.
    equivalence_margin_nats, equivalence_margin_epochs
        The same for test losses, and for epochs to the target.
    equivalence_margin_ratio
        The same for times, as a fraction: 0.05 is 5 % more.
    """

    confidence: Fraction
    target_accuracy: Fraction
    equivalence_margin: Positive
    equivalence_margin_nats: Positive
    equivalence_margin_epochs: Positive
    equivalence_margin_ratio: Positive

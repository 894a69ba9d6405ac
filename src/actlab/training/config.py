"""The section `training` of a configuration."""

from typing import Annotated

from pydantic import Field

from actlab.engine.validation import Count, Real, Whole, only, section

#: In float32, values beyond these bounds are 0 or infinite.
LearningRate = Annotated[Real, only(lambda x: 1e-45 <= x <= 3.4e38, "from 1e-45 to 3.4e38")]


@section
class TrainingConfig:
    """How a network is trained (Adam, cross-entropy), and when its weights are kept."""

    epochs: Annotated[Count, Field(le=1_000_000)]
    batch_size: Count
    learning_rate: LearningRate
    probe_epochs: list[Annotated[Whole, Field(ge=0)]]

    def kept_epochs(self) -> list[int]:
        """Return the epochs after which weights are kept: 0, the probe epochs, the last.

        >>> TrainingConfig(3, 128, 0.001, [1, 20]).kept_epochs()
        [0, 1, 3]
        """
        within = {epoch for epoch in self.probe_epochs if epoch <= self.epochs}
        return sorted(within | {0, self.epochs})

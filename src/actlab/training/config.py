"""The sections `optimizer` and `training` of a configuration."""

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from actlab.engine.targets import Group
from actlab.engine.validation import (
    Count,
    Name,
    Positive,
    Real,
    Truth,
    Whole,
    one_of,
    only,
    section,
)
from actlab.errors import UserError

#: In float32, values beyond these bounds are 0 or infinite.
LearningRate = Annotated[Real, only(lambda x: 1e-45 <= x <= 3.4e38, "from 1e-45 to 3.4e38")]

_Decay = Annotated[Real, only(lambda x: 0 <= x < 1, "at least 0 and less than 1")]
_NotNegative = Annotated[Real, Field(ge=0)]
_Unsupported = Annotated[Any, only(lambda x: not x, "left out: it is not supported")]

#: The optimizers of Keras whose update of an entry depends on that entry's gradients alone.
ELEMENTWISE = (
    *("SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta", "Ftrl", "Lion"),
)
_OPTIMIZERS = (*ELEMENTWISE, "Adafactor", "Lamb", "Muon")
_SCHEDULES = (
    *("CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay"),
    *("PiecewiseConstantDecay", "PolynomialDecay"),
)
_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")

_GROUP = Group(
    "optimizer",
    {
        "": tuple(f"keras.optimizers.{name}" for name in _OPTIMIZERS),
        "learning_rate": tuple(f"keras.optimizers.schedules.{name}" for name in _SCHEDULES),
    },
    {
        "learning_rate": LearningRate,
        "initial_learning_rate": _NotNegative,  # 0 before a warm-up
        **dict.fromkeys(("momentum", "rho", "beta_1", "beta_2"), _Decay),
        **dict.fromkeys(("adam_beta_1", "adam_beta_2"), _Decay),
        **dict.fromkeys(("epsilon", "epsilon_1", "epsilon_2", "beta"), _NotNegative),
        **dict.fromkeys(("initial_accumulator_value", "adam_weight_decay"), _NotNegative),
        **dict.fromkeys(("l1_regularization_strength", "end_learning_rate"), _NotNegative),
        **dict.fromkeys(("l2_regularization_strength", "alpha"), _NotNegative),
        "l2_shrinkage_regularization_strength": _NotNegative,
        "weight_decay": _NotNegative | None,
        **dict.fromkeys(_CLIPS, Positive | None),
        **dict.fromkeys(("clip_threshold", "decay_rate", "power", "t_mul", "m_mul"), Positive),
        **dict.fromkeys(("rms_rate", "adam_lr_ratio"), Positive),
        **dict.fromkeys(("beta_2_decay", "muon_a", "muon_b", "muon_c"), Real),
        "learning_rate_power": Annotated[Real, Field(le=0)],
        **dict.fromkeys(("nesterov", "amsgrad", "centered", "relative_step"), Truth),
        **dict.fromkeys(("staircase", "cycle"), Truth),
        **dict.fromkeys(("decay_steps", "first_decay_steps", "ns_steps"), Count),
        "warmup_steps": Annotated[Whole, Field(ge=0)],
        "warmup_target": LearningRate | None,
        "boundaries": list[Count],
        "values": list[LearningRate],
        # Averages of weights, float16, and steps over several batches.
        **dict.fromkeys(
            ("use_ema", "loss_scale_factor", "gradient_accumulation_steps"), _Unsupported
        ),
        **dict.fromkeys(("ema_momentum", "ema_overwrite_frequency", "name"), _Unsupported),
    },
)


@section
class OptimizerConfig:
    """An optimizer of Keras: the name of its file in conf/optimizer/, `_target_` and its values."""

    name: Name
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        _GROUP.check(self.settings)
        clips = [key for key in _CLIPS if self.settings.get(key) is not None]
        if len(clips) > 1:
            raise UserError(f"optimizer.{clips[0]} and {clips[1]} are given: only one may be")

    @classmethod
    def read(cls, given: Any) -> "OptimizerConfig":
        """Complete a name, or a mapping with `name`, by the values of its file.

        >>> OptimizerConfig.read({"name": "sgd", "momentum": 0.9}).settings["learning_rate"]
        0.01
        """
        return given if isinstance(given, OptimizerConfig) else cls(*_GROUP.read(given))

    @property
    def is_elementwise(self) -> bool:
        """Whether the update of an entry of a weight depends on that entry's gradients alone."""
        return self.settings["_target_"].rpartition(".")[2] in ELEMENTWISE


if TYPE_CHECKING:
    Optimizer = OptimizerConfig
else:  # Hydra takes any keys, which the file of the name decides
    Optimizer = Annotated[Any, BeforeValidator(OptimizerConfig.read)]


_DISTINCT_NOISE = only(
    lambda bounds: len({f"{bound:g}" for bound in bounds}) == len(bounds),
    "bounds that differ in six digits",
)


@section
class TrainingConfig:
    """How long a network is trained, in which batches, and which weights are kept and tested.

    Attributes
    ----------
    epochs, batch_size
        As in Keras.
    probe_epochs
        Epochs after which weights are kept, with those before the first and after the last.
    steps
        Of the optimizer, after which training ends, if `epochs` does not end it before; null: none.
    monitor
        What says which epoch is the best: val_loss, val_accuracy or loss.
    patience, min_delta
        Epochs without an improvement of `monitor` by more than `min_delta`, after which training
        ends; null: none.
    tested
        The weights that are tested, and kept as those of the last epoch: last, or best.
    train_metrics
        How the loss and accuracy of the training images are measured: running, as Keras does, over
        the batches of an epoch before each update; or inference, after the epoch.
    test_noise
        Bounds of uniform noise that is added to the test images in further tests.
    """

    epochs: Annotated[Count, Field(le=1_000_000)]
    batch_size: Count
    probe_epochs: list[Annotated[Whole, Field(ge=0)]]
    steps: Count | None = None
    monitor: Annotated[str, one_of(("val_loss", "val_accuracy", "loss"))] = "val_loss"
    patience: Count | None = None
    min_delta: _NotNegative = 0.0
    tested: Annotated[str, one_of(("last", "best"))] = "last"
    train_metrics: Annotated[str, one_of(("running", "inference"))] = "running"
    test_noise: Annotated[list[Positive], _DISTINCT_NOISE] = field(default_factory=list)

    @property
    def selects(self) -> bool:
        """Whether `monitor` decides when training ends, or what is tested."""
        return self.patience is not None or self.tested == "best"

    @property
    def may_end_early(self) -> bool:
        """Whether a seed may end before `epochs`."""
        return self.patience is not None or self.steps is not None

    def check_monitor(self, validation_size: int, outputs: str) -> None:
        """Refuse to select by the test split, or by an accuracy that a regression does not have.

        Raises
        ------
        UserError
            If validation images decide something, and none are held out; or if `outputs` are
            linear, and the accuracy decides.
        """
        if self.selects and self.monitor == "val_accuracy" and outputs == "linear":
            raise UserError(
                "training.monitor is 'val_accuracy': with network.outputs=linear it has to be"
                " val_loss or loss"
            )
        if self.selects and self.monitor != "loss" and not validation_size:
            key = "patience" if self.patience is not None else "tested"
            raise UserError(
                f"training.{key} is {getattr(self, key)}: it needs data.validation_size, since"
                " nothing is selected by the test split"
            )

    def kept_epochs(self) -> list[int]:
        """Return the epochs after which weights are kept: 0, the probe epochs, the last.

        >>> TrainingConfig(3, 128, [1, 20]).kept_epochs()
        [0, 1, 3]
        """
        within = {epoch for epoch in self.probe_epochs if epoch <= self.epochs}
        return sorted(within | {0, self.epochs})

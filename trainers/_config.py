"""What every model's Config shares, and how `SET="epochs=2"` overrides it."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from savedmodels.errors import UsageError
from trainers._catalog import check_dataset, nearest_name

_PRECISIONS = ("auto", "float16", "bfloat16", "off")
_SWITCHES = ("auto", "on", "off")

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The fields that training reads, whatever the model.

    A model's Config extends it and gives every field without a default its own. Where
    another data set needs others, it names them in `FOR_DATASET`: data set to values by
    field, taken when that data set is chosen by name and the field is not.

    Attributes:
        dataset: Packaged data set, or `tfds:<name>` for the public catalogue; for a
            model of any text also several, joined by `+`.
        datasets_dir: Folder that keeps data sets.
        epochs: Passes over the training split, at least 1.
        global_batch_size: Examples per step over all replicas, at least 1.
        learning_rate: Peak step size, above 0.
        checkpoint_steps: Steps from one checkpoint to the next within an epoch; 0 for
            checkpoints at its end alone.
        rollbacks: How often training may go back to an earlier checkpoint with half
            the learning rate, after a loss that is no number or has jumped.
        seed: Seed of weights, order and augmentation, 0 to 2^31 - 1.
        early_stopping_epochs: Epochs without a better validation loss before
            training stops; 0 for never.
        mixed_precision: `auto` (by device), `float16`, `bfloat16` or `off`.
        xla: `auto` (by device), `on` or `off`.
        gradient_accumulation_steps: In how many parts a batch goes through the network
            before one update: the same gradient, unless there is batch normalisation,
            and less memory. 1 is all at once.
        ema_momentum: Share of the weights' averages that stays in a step, where these
            are judged and exported: 0.999 for means of about 1,000 steps; 0 is off.
        clip_norm: To what the gradient of all weights together is shortened where it is
            longer, in place of what the model clips by itself; 0 for that.
    """

    FOR_DATASET: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    dataset: str
    datasets_dir: str = "artifacts/datasets"
    epochs: int
    global_batch_size: int = 128
    learning_rate: float
    checkpoint_steps: int = 100
    rollbacks: int = 2
    seed: int = 1
    early_stopping_epochs: int = 0
    mixed_precision: str = "auto"
    xla: str = "auto"
    gradient_accumulation_steps: int = 1
    ema_momentum: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        check_dataset(self.dataset)
        check(self, "datasets_dir", bool(self.datasets_dir), "the name of a folder")
        check(self, "epochs", self.epochs >= 1, "1 or more")
        check(self, "global_batch_size", self.global_batch_size >= 1, "1 or more")
        rate = self.learning_rate
        check(self, "learning_rate", 0 < rate < math.inf, "a number above 0")
        check(self, "checkpoint_steps", self.checkpoint_steps >= 0, "0 (off) or more")
        check(self, "rollbacks", self.rollbacks >= 0, "0 (never) or more")
        check(self, "seed", 0 <= self.seed < 2**31, "0 to 2147483647")
        stop = self.early_stopping_epochs
        check(self, "early_stopping_epochs", stop >= 0, "0 (off) or more")
        fits = self.mixed_precision in _PRECISIONS
        check(self, "mixed_precision", fits, "`auto`, `float16`, `bfloat16` or `off`")
        check(self, "xla", self.xla in _SWITCHES, "`auto`, `on` or `off`")
        parts = self.gradient_accumulation_steps
        check(self, "gradient_accumulation_steps", parts >= 1, "1 (off) or more")
        fits = 0 <= self.ema_momentum < 1
        check(self, "ema_momentum", fits, "0 (off) or more, and below 1")
        fits = 0 <= self.clip_norm < math.inf
        check(self, "clip_norm", fits, "0 (as the model has it) or more")


Config = TypeVar("Config", bound=TrainConfig)


def check(config: object, field: str, fits: bool, expected: str) -> None:
    """Raises UsageError for a field's value; for `__post_init__` of any Config.

    Args:
        config: The Config under check.
        field: Name of the field.
        fits: Whether the value will do.
        expected: What would do, after "Expected ".
    """
    if not fits:
        value = getattr(config, field)
        raise UsageError(
            f"`{field}` of this model's Config has no such value. Expected {expected}. "
            f"Received: {field}={value}."
        )


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Returns `config` with fields replaced, as typed on a command line.

    Args:
        config: The values to start from.
        assignments: `field=value` each: `epochs=2`, `filters=4,8`, `shuffle=false`,
            `limit=none`. Later ones win. A data set brings the values that the Config
            has for it, for fields that are neither assigned nor changed already.

    Raises:
        UsageError: An unknown field (names the nearest), a value that does not parse
            as the field's type, or one that the Config refuses.
    """
    hints = typing.get_type_hints(type(config))
    names = [field.name for field in dataclasses.fields(config)]
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(
                "An override has no value. Expected field=value, as in epochs=2. "
                f"Received: {assignment}."
            )
        if name not in names:
            nearest = nearest_name(name, names)
            raise UsageError(
                f"Unknown field `{name}`. Expected one of {', '.join(names)}. "
                f"Received: {assignment}."
                + (f" Did you mean `{nearest}`?" if nearest else "")
            )
        try:
            changes[name] = _parse(text, hints[name])
        except ValueError as error:
            raise UsageError(
                f"`{name}` cannot take this value. Expected "
                f"{_described(hints[name])}. Received: {assignment}."
            ) from error
    if changes.get("dataset", config.dataset) != config.dataset:
        changes = _brought(config, changes["dataset"]) | changes
    return dataclasses.replace(config, **changes)


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns the fields as JSON would give them back: tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[Config], fields: Mapping[str, Any]) -> Config:
    """Returns the Config that `as_dict` was asked about.

    Args:
        kind: The model's Config class.
        fields: Values by field; what is missing keeps its default.

    Raises:
        UsageError: A field that the model no longer has, or a value it refuses.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(fields) - set(names))
    if unknown:
        raise UsageError(
            f"The saved Config does not fit this model. Expected {', '.join(names)}. "
            f"Received also: {', '.join(unknown)}."
        )
    return kind(**{name: _frozen(value) for name, value in fields.items()})


def fingerprint(config: TrainConfig) -> str:
    """Returns 12 hexadecimal digits that are equal for equal training.

    Where the data sets lie does not count: the same data may be moved. Nor does how
    often the run is kept.
    """
    fields = as_dict(config)
    del fields["datasets_dir"], fields["checkpoint_steps"]
    canonical = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _brought(config: TrainConfig, dataset: str) -> dict[str, Any]:
    """The values that come with a data set, for fields that have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return {
        name: value
        for name, value in config.FOR_DATASET.get(dataset, {}).items()
        if getattr(config, name) == defaults[name]
    }


def _frozen(value: Any) -> Any:
    """Returns JSON's lists as the tuples that a Config holds."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _parse(text: str, hint: Any) -> Any:
    """Returns `text` as the type `hint`; ValueError where it is not one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _parse_union(text, arguments)
    if origin is tuple:
        return _parse_tuple(text, arguments)
    if origin is typing.Literal:
        for choice in arguments:
            if str(choice) == text:
                return choice
        raise ValueError(text)
    if hint is bool:
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    if hint in (int, float, str):
        return hint(text)
    raise TypeError(f"Config fields of type {hint} cannot be overridden.")


def _parse_union(text: str, arguments: tuple) -> Any:
    if types.NoneType in arguments and text.lower() == "none":
        return None
    for argument in arguments:
        try:
            return _parse(text, argument)
        except (TypeError, ValueError):
            continue
    raise ValueError(text)


def _parse_tuple(text: str, arguments: tuple) -> tuple:
    parts = [part.strip() for part in text.split(",")] if text else []
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_parse(part, arguments[0]) for part in parts)
    if len(parts) != len(arguments):
        raise ValueError(text)
    return tuple(_parse(p, a) for p, a in zip(parts, arguments, strict=True))


def _described(hint: Any) -> str:
    """Returns a type in the words of somebody who types values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_described(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"values with commas between, each {_described(arguments[0])}"
    if origin is tuple:
        each = ", ".join(_described(argument) for argument in arguments)
        return f"{len(arguments)} values with commas between: {each}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        types.NoneType: "none",
    }
    return words.get(hint, str(hint))

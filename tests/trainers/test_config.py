"""What is typed becomes a value of the field's type, or one clear message."""

import dataclasses
import json
from typing import ClassVar, Literal

import pytest

from savedmodels.errors import UsageError
from trainers import _catalog, _config
from trainers._config import TrainConfig, as_dict, fingerprint, from_dict, override


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """One field of each type that a model may use."""

    dataset: str = "mnist"
    epochs: int = 12
    learning_rate: float = 1e-3
    filters: tuple[int, int] = (32, 64)
    layers: tuple[int, ...] = (10, 10)
    augment: bool = True
    limit: int | None = None
    network: Literal["cnn", "dense"] = "cnn"
    note: str = ""


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("epochs=2", "epochs", 2),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("filters=4,8", "filters", (4, 8)),
        ("filters=4, 8", "filters", (4, 8)),
        ("layers=5", "layers", (5,)),
        ("layers=5,6,7", "layers", (5, 6, 7)),
        ("layers=", "layers", ()),
        ("augment=false", "augment", False),
        ("augment=0", "augment", False),
        ("augment=Yes", "augment", True),
        ("limit=100", "limit", 100),
        ("limit=none", "limit", None),
        ("network=dense", "network", "dense"),
        ("note=a=b c", "note", "a=b c"),
        ("dataset=tfds:fashion_mnist", "dataset", "tfds:fashion_mnist"),
    ],
)
def test_values_are_parsed_by_the_type_of_their_field(assignment, field, value):
    changed = override(Config(), [assignment])
    assert getattr(changed, field) == value
    assert type(getattr(changed, field)) is type(value)
    assert dataclasses.replace(changed, **{field: getattr(Config(), field)}) == Config()


def test_later_overrides_win_and_none_changes_nothing():
    assert override(Config(), ["epochs=2", "epochs=3"]).epochs == 3
    assert override(Config(), []) == Config()


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epochs=two", "a whole number"),
        ("epochs=2.5", "a whole number"),
        ("epochs=", "a whole number"),
        ("learning_rate=fast", "a number"),
        ("filters=4", "2 values with commas between: a whole number, a whole number"),
        ("filters=4,8,16", "2 values with commas between"),
        ("filters=4,x", "2 values with commas between"),
        ("layers=4;8", "values with commas between, each a whole number"),
        ("augment=maybe", "true or false"),
        ("limit=some", "a whole number or none"),
        ("network=rnn", "`cnn` or `dense`"),
    ],
)
def test_a_value_of_the_wrong_type_names_field_type_and_value(assignment, expected):
    with pytest.raises(UsageError) as caught:
        override(Config(), [assignment])
    message = str(caught.value)
    assert f"`{assignment.partition('=')[0]}`" in message
    assert f"Expected {expected}" in message
    assert f"Received: {assignment}" in message


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("epoch=2", "epochs"),
        ("lerning_rate=1", "learning_rate"),
        ("filter=4", "filters"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest(assignment, nearest):
    with pytest.raises(UsageError, match=f"Did you mean `{nearest}`"):
        override(Config(), [assignment])


def test_a_word_without_an_equals_sign_is_no_override():
    with pytest.raises(UsageError, match="Expected field=value"):
        override(Config(), ["epochs"])


@pytest.mark.parametrize(
    "assignment",
    [
        "epochs=0",
        "epochs=-1",
        "global_batch_size=0",
        "learning_rate=0",
        "learning_rate=nan",
        "learning_rate=inf",
        "seed=-1",
        "early_stopping_epochs=-1",
        "mixed_precision=on",
        "xla=true",
        "gradient_accumulation_steps=0",
        "ema_momentum=1",
        "clip_norm=-1",
        "clip_norm=inf",
        "datasets_dir=",
    ],
)
def test_values_that_cannot_train_are_refused(assignment):
    field = assignment.partition("=")[0]
    with pytest.raises(UsageError, match=f"`{field}`"):
        override(Config(), [assignment])


def test_a_misspelt_data_set_is_refused_before_any_work():
    with pytest.raises(UsageError, match="Did you mean `mnist`"):
        Config(dataset="mnst")


def test_a_config_survives_json():
    config = Config(filters=(3, 5), limit=7, layers=())
    fields = json.loads(json.dumps(as_dict(config)))
    assert fields == as_dict(config)
    assert from_dict(Config, fields) == config


def test_a_saved_config_of_another_model_is_refused():
    with pytest.raises(UsageError, match="Received also: momentum"):
        from_dict(Config, {"epochs": 1, "momentum": 0.9})


def test_equal_training_has_an_equal_fingerprint_wherever_its_data_lie():
    assert fingerprint(Config()) == fingerprint(Config(datasets_dir="/elsewhere"))
    assert fingerprint(Config()) == fingerprint(Config(checkpoint_steps=7))
    assert fingerprint(Config()) != fingerprint(Config(seed=2))
    assert fingerprint(Config()) != fingerprint(Config(filters=(64, 32)))


def test_fields_of_a_type_that_nobody_can_type_are_a_mistake_of_the_model():
    with pytest.raises(TypeError, match="cannot be overridden"):
        _config._parse("{}", dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfTwo(TrainConfig):
    """A Config of two data sets."""

    FOR_DATASET: ClassVar = {"state_of_the_union": {"epochs": 7, "learning_rate": 0.5}}

    dataset: str = "mnist"
    epochs: int = 3
    learning_rate: float = 0.1


def test_a_data_set_brings_its_own_values():
    config = _config.override(OfTwo(), ["dataset=state_of_the_union"])
    assert (config.epochs, config.learning_rate) == (7, 0.5)


def test_what_is_typed_or_changed_already_goes_before_what_a_data_set_brings():
    typed = ["epochs=2", "dataset=state_of_the_union"]
    assert _config.override(OfTwo(), typed).epochs == 2
    changed = _config.override(OfTwo(epochs=4), ["dataset=state_of_the_union"])
    assert (changed.epochs, changed.learning_rate) == (4, 0.5)


def test_the_same_data_set_changes_nothing():
    trained = _config.override(OfTwo(), ["dataset=state_of_the_union", "epochs=3"])
    assert _config.override(trained, ["dataset=state_of_the_union"]).epochs == 3
    assert _config.override(OfTwo(), ["dataset=mnist"]) == OfTwo()


def test_what_a_data_set_brings_fits_its_config():
    for name in _catalog.model_names():
        config = _catalog.load_model(name).Config()
        for dataset in config.FOR_DATASET:
            _config.override(config, [f"dataset={dataset}"])

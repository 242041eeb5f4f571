import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core import params
from darkroom.train.config import BATCH_SIZES, TrainConfig
from darkroom.train.length import resolve
from tests.trainings import PATH, TRAIN

FASHION_MNIST = 53_964  # training examples


def chosen(examples: int, **changes: object) -> tuple[int, float]:
    settings = resolve(
        TRAIN.model_copy(update={"batch_size": "auto", "epochs": 7.0, "min_steps": 250, **changes}), examples
    )
    return settings.batch_size, settings.epochs


def steps(settings: TrainConfig, examples: int) -> int:
    return round(settings.epochs * -(-examples // settings.batch_size))


@pytest.mark.parametrize(
    ("recipe", "expected"), [("default", (512, 7.0)), ("sprint", (256, 1.2)), ("accurate", (512, 120.0))]
)
def test_recipes_train_on_the_large_built_in_datasets_as_they_were_measured(recipe: str, expected: tuple[int, float]):
    values = params.read(PATH.parent / f"recipes/{recipe}.yaml")["train"]
    settings = TRAIN.model_copy(update={key: value for key, value in values.items() if key != "augment"})
    for examples in (FASHION_MNIST, 54_000, 60_000):
        found = resolve(settings, examples)
        assert (found.batch_size, found.epochs) == expected


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (60_000, (512, 7.0)),
        (10_000, (256, 7.0)),
        (5_000, (128, 7.0)),
        (1_484, (32, 7.0)),
        (400, (16, 10.0)),  # 25 steps per epoch
        (196, (16, 20.0)),  # 13
        (10, (10, 250.0)),
        (1, (1, 250.0)),
    ],
)
def test_fewer_examples_are_trained_on_in_smaller_batches_then_for_more_epochs(
    examples: int, expected: tuple[int, float]
):
    assert chosen(examples) == expected


def test_a_given_batch_size_is_kept_up_to_the_number_of_examples():
    assert chosen(196, batch_size=64) == (64, 63.0)
    assert chosen(196, batch_size=512) == (196, 250.0)
    assert chosen(60_000, batch_size=64) == (64, 7.0)


def test_zero_switches_the_least_number_of_steps_off():
    assert chosen(196, min_steps=0) == (196, 7.0)
    assert chosen(60_000, min_steps=0, epochs=0.01) == (512, 0.01)


def test_a_part_of_an_epoch_may_suffice():
    assert chosen(16_000, epochs=0.1, min_steps=500) == (16, 0.5)


@given(
    examples=st.integers(1, 200_000),
    epochs=st.floats(0.01, 100),
    least=st.integers(0, 5_000),
    batch_size=st.sampled_from(["auto", 1, 24, 512]),
)
def test_a_training_has_its_least_number_of_steps_and_is_never_shortened(examples, epochs, least, batch_size):
    given = TRAIN.model_copy(update={"epochs": epochs, "min_steps": least, "batch_size": batch_size})
    found = resolve(given, examples)
    assert steps(found, examples) >= least
    assert found.epochs >= epochs
    assert found.epochs == epochs or found.batch_size == min(
        examples, BATCH_SIZES[-1] if batch_size == "auto" else batch_size
    )
    assert resolve(found, examples) == found

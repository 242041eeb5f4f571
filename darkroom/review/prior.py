"""How much the test accuracy varies from training to training, where no seeds have been measured."""

import math


def retraining_std(train_examples: int, error: float) -> float:
    """The standard deviation (a fraction) of the test accuracy that training again with another seed adds.

    It comes in addition to the predictions that flip from seed to seed, which a paired test knows: that is the
    deviation if they flip independently. `error` is the fraction of incorrect predictions on the test set.

    Measured by `python -m benchmarks.retraining` with 6 to 39 seeds: 0.35 points with 600 training examples of
    Fashion-MNIST (17.1 % incorrect), 0.18 with 2,000 (13.5 %), 0.07 with 2,000 of MNIST (1.7 %): all are
    0.21 to 0.25 * sqrt(error / train_examples). With 6,000 to 54,000 it was 0 to 0.06 points, too little to measure.
    This function gives at least 0.5 * sqrt(error / train_examples) and 0.006 * sqrt(error): other recipes may vary
    more.
    """
    return math.sqrt(error * (0.25 / max(train_examples, 1) + 0.006**2))

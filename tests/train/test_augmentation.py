import pytest
import torch

from darkroom.core.arrays import Augmentation, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.models.normalisation import normalise
from darkroom.train.augmentation import Augmenter
from tests.packs import AS_IS
from tests.train.test_geometry import random_images
from tests.trainings import CPU, NO_AUGMENTATION

INDICES, ALL = torch.arange(6), torch.arange(6)


def augmenter(channels: int = 3, size: int = 8, **changes: object) -> Augmenter:
    mean, std = (0.5,) * channels, (0.2,) * channels
    counts, suitable = {"train": 6}, Augmentation(False, 0)
    shape = size, size, channels
    manifest = Manifest("toy", "Toy", "CC0", ("a", "b"), shape, mean, std, counts, suitable, "0", **AS_IS)
    return Augmenter(NO_AUGMENTATION.model_copy(update=changes), manifest, 0, CPU)


def test_without_augmentation_inputs_are_only_normalised():
    images, own = random_images(6, 8, 8, 3), augmenter()
    assert torch.equal(own(images, INDICES, ALL, 0, 0), normalise(images, own.manifest.mean, own.manifest.std))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {"flip": "random"},
        {"shift": 2},
        {"random_erasing": 1.0},
        {"min_crop_area": 0.5},
        {"min_crop_area": 0.5, "max_crop_aspect": 1.5},
        {"color_jitter": 0.5},
        {"policy": "trivial"},
        {"policy": "rand"},
    ],
)
def test_each_augmentation_changes_images_and_depends_on_the_step_only(channels: int, changes: dict[str, object]):
    images, own = random_images(6, 8, 8, channels), augmenter(channels, **changes)
    plain = augmenter(channels)(images, INDICES, ALL, 0, 0)
    first, again, second = (own(images, INDICES, ALL, 0, step) for step in (0, 0, 1))
    assert first.shape == plain.shape
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, plain)
    assert torch.equal(
        augmenter(channels, **changes)(images[[1, 4]], INDICES, torch.tensor([1, 4]), 0, 0), first[[1, 4]]
    )


@pytest.mark.parametrize("changes", [{"color_jitter": 0.1}, {"policy": "rand"}])
def test_colours_of_two_channels_are_not_defined(changes: dict[str, object]):
    with pytest.raises(DarkroomError, match=r"train\.augment\.color_jitter and policy .* 1 or 3 channels"):
        augmenter(2, **changes)
    augmenter(2, flip="random")

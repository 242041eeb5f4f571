import pytest
import torch
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide

from darkroom.train import policies
from darkroom.train.policies import LEVELS, OPERATIONS, POLICIES
from tests.train.test_geometry import generator, random_images

THEIRS = {"trivial": TrivialAugmentWide(), "rand": RandAugment()}
NAMES = {"Color": "saturation"} | {
    name: name.lower().replace("shear", "shear_").replace("translate", "translate_")
    for name in TrivialAugmentWide._AUGMENTATION_SPACE
    if name != "Color"
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_at_every_level_is_that_of_torchvision(name: str, channels: int):
    image, theirs = random_images(1, 16, 14, channels), THEIRS[name]
    space = {NAMES[key]: (key, *found) for key, found in theirs._AUGMENTATION_SPACE.items()}
    assert sorted(space) == sorted(OPERATIONS)
    for number, operation in enumerate(OPERATIONS):
        key, magnitudes, signed = space[operation]
        strengths = magnitudes(LEVELS, 16, 14)
        for level in range(-LEVELS + 1, LEVELS):
            magnitude = 0.0 if strengths is None else float(strengths[abs(level)])
            magnitude = -magnitude if signed and level < 0 else magnitude
            options = {"interpolation": theirs.interpolation, "fill": theirs._fill}
            expected = theirs._apply_image_or_video_transform(image[0].movedim(2, 0), key, magnitude, **options)
            found = policies.apply(image, torch.tensor([[[number, level]]]), POLICIES[name])
            assert torch.equal(found[0].movedim(2, 0), expected), (operation, level)


def test_operations_are_applied_one_after_the_other():
    images, policy = random_images(1, 8, 8, 3), POLICIES["rand"]
    first, second = [OPERATIONS.index("rotate"), 9], [OPERATIONS.index("equalize"), 9]
    both = policies.apply(images, torch.tensor([[first, second]]), policy)
    once = policies.apply(images, torch.tensor([[first]]), policy)
    assert torch.equal(policies.apply(once, torch.tensor([[second]]), policy), both)


@pytest.mark.parametrize("name", POLICIES)
def test_all_operations_levels_and_signs_are_drawn(name: str):
    drawn = policies.draw(4000, POLICIES[name], generator())
    assert drawn.shape == (4000, POLICIES[name].count, 2)
    operations, levels = drawn.unbind(2)
    assert operations.unique().tolist() == list(range(len(OPERATIONS)))
    expected = range(-LEVELS + 1, LEVELS) if name == "trivial" else (-9, 9)
    assert levels.unique().tolist() == list(expected)


def test_images_stay_as_they_were_and_none_is_allowed():
    images = random_images(6, 8, 8, 3)
    before = images.clone()
    policies.apply(images, policies.draw(6, POLICIES["rand"], generator()), POLICIES["rand"])
    assert torch.equal(images, before)
    assert (
        policies.apply(images[:0], policies.draw(0, POLICIES["trivial"], generator()), POLICIES["trivial"]).numel() == 0
    )

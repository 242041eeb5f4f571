from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate

from darkroom.core.errors import DarkroomError
from darkroom.models.normalisation import normalise
from darkroom.teachers import descriptions, ensemble
from darkroom.teachers.descriptions import Network
from darkroom.teachers.ensemble import Ensemble, Member
from tests.teachers.keeping import edit, member, put
from tests.trainings import manifest, split

DATA = split(8, 1)
MANIFEST = replace(manifest(DATA), test_sha256="1" * 64, test_examples_sha256="2" * 64)
IMAGES = torch.from_numpy(DATA.inputs)
OWN = Network(
    file="1.safetensors",
    bytes=1,
    sha256="0" * 64,
    family="cnn",
    arguments={},
    shape=MANIFEST.shape,
    mean=MANIFEST.mean,
    std=MANIFEST.std,
    parameters=1,
    test_sha256=MANIFEST.test_sha256,
    pretrained=None,
    commit="",
)


def inputs(mean: tuple[float, ...] = MANIFEST.mean, std: tuple[float, ...] = MANIFEST.std) -> torch.Tensor:
    return normalise(IMAGES, mean, std)


class Fixed(nn.Module):
    """Answers with these logits, whatever the inputs."""

    def __init__(self, *logits: float):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([logits]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(inputs), -1)


def test_a_teacher_answers_as_its_network():
    state = torch.get_rng_state()
    teacher = put("big", MANIFEST)
    torch.set_rng_state(state)
    found = ensemble.load(teacher.folder, teacher, MANIFEST)
    assert torch.equal(torch.get_rng_state(), state)  # the student's random numbers stay the same
    expected = member("cnn", MANIFEST, 0)(inputs())
    assert torch.equal(found(inputs()), expected.log_softmax(1))
    assert torch.equal(found(inputs(), 4.0), (expected / 4).log_softmax(1))
    assert not found.training and not any(weight.requires_grad for weight in found.parameters())
    assert not found(inputs().requires_grad_()).requires_grad


def test_several_networks_answer_with_the_mean_of_their_probabilities():
    together = Ensemble([Fixed(0.0, 2.0, -1.0), Fixed(1.0, 0.0, 0.0), Fixed(0.0, 0.0, 0.0)])
    for temperature in (1.0, 3.0):
        each = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]) / temperature
        found = together(torch.zeros(2, 1), temperature)
        assert torch.allclose(found.exp(), each.softmax(1).mean(0).expand(2, -1), atol=1e-7)


@given(
    given_mean=st.floats(0, 1),
    own_mean=st.floats(0, 1),
    given_std=st.floats(0.05, 1) | st.just(0.0),
    own_std=st.floats(0.05, 1) | st.just(0.0),
)
def test_inputs_are_converted_to_the_own_normalisation(given_mean, own_mean, given_std, own_std):
    own = OWN.model_copy(update={"mean": (own_mean,), "std": (own_std,)})
    convert = Member(nn.Identity(), own, (given_mean,), (given_std,))
    found = convert(inputs((given_mean,), (given_std,)))
    assert torch.allclose(found, inputs((own_mean,), (own_std,)), atol=2e-5)


def test_inputs_of_its_own_normalisation_are_passed_on_as_they_are():
    convert = Member(nn.Identity(), OWN, OWN.mean, OWN.std)
    given = inputs()
    assert convert(given) is given


@pytest.mark.parametrize("size", [(20, 20), (5, 5), (7, 14)])
def test_images_of_another_size_are_resized(size: tuple[int, int]):
    own = OWN.model_copy(update={"shape": (*size, 1)})
    found = Member(nn.Identity(), own, OWN.mean, OWN.std)(inputs())
    assert found.shape == (8, 1, *size)
    assert torch.equal(found, interpolate(inputs(), size, mode="bilinear", antialias=True))


def test_a_teacher_of_another_size_answers(tmp_path):
    teacher = put("big", MANIFEST, shape=(20, 20, 1))
    found = ensemble.load(teacher.folder, teacher, MANIFEST)(inputs())
    large = interpolate(inputs(), (20, 20), mode="bilinear", antialias=True)
    assert torch.equal(found, member("cnn", MANIFEST, 0, (20, 20, 1))(large).log_softmax(1))


@pytest.mark.parametrize(
    ("shape", "facts"), [((10, 10, 3), ["1 channel", "have 3", "color = grey"]), ((100,), ["have 100"])]
)
def test_other_channels_are_refused(shape: tuple[int, ...], facts: list[str]):
    teacher = put("big", MANIFEST)
    with pytest.raises(DarkroomError, match="'big'") as caught:
        ensemble.load(teacher.folder, teacher, replace(MANIFEST, shape=shape))
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize("byte", [0, 8, 100, -1])
def test_one_changed_byte_is_refused_before_the_weights_are_read(byte: int, monkeypatch: pytest.MonkeyPatch):
    teacher = put("big", MANIFEST)
    path = teacher.folder / "0.safetensors"
    contents = bytearray(path.read_bytes())
    contents[byte] ^= 1
    path.write_bytes(contents)
    monkeypatch.setattr(ensemble, "from_bytes", lambda contents: pytest.fail("it was read"))
    with pytest.raises(DarkroomError, match=r"0\.safetensors has the SHA-256 .* expected"):
        ensemble.load(teacher.folder, teacher, MANIFEST)


def test_missing_weights_are_refused():
    teacher = put("big", MANIFEST)
    (teacher.folder / "0.safetensors").unlink()
    with pytest.raises(DarkroomError, match=r"0\.safetensors cannot be read.*dvc checkout"):
        ensemble.load(teacher.folder, teacher, MANIFEST)


@pytest.mark.parametrize(
    "changes", [{"family": "sprint"}, {"family": "unknown"}, {"arguments": {"channels": 5, "hidden_units": 8}}]
)
def test_weights_of_another_network_are_refused_in_one_line(changes: dict):
    networks = put("big", MANIFEST).model_dump(mode="json")["networks"]
    edit("big", networks=[{**networks[0], **changes}])
    teacher = descriptions.load("big")
    with pytest.raises(DarkroomError, match=r"not the network that teacher\.json describes") as caught:
        ensemble.load(teacher.folder, teacher, MANIFEST)
    assert "\n" not in str(caught.value)

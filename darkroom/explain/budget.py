"""How much work explanations may take, by the size of the network and of the images.

Large ones get coarser maps and fewer images. What is chosen depends on sizes only, so it is the same on every machine.
"""

from dataclasses import dataclass

from darkroom.core.spelling import counted
from darkroom.explain import occlusion

SECONDS = 50.0  # nominal ones, of darkroom.explain.work
ENOUGH = 20  # images on which maps are measured, before more detail is worth its work
MAPS = 3  # methods
BACKWARD = 3  # a forward and a backward pass take as long as this many forward passes


@dataclass(frozen=True)
class Detail:
    """How finely maps are computed and measured."""

    gradient_steps: int  # of integrated gradients, between the black image and the real one
    windows_per_side: int  # of occlusion; fewer for large images
    curve_steps: int  # of deletion and of insertion

    def map_passes(self, height: int, width: int) -> int:
        """The forward passes for all maps of one image."""
        gradients = self.gradient_steps + 1  # and Grad-CAM
        return BACKWARD * gradients + 1 + len(occlusion.windows(height, width, self.windows_per_side))

    def curve_passes(self) -> int:
        """The forward passes to measure all maps of one image, and a random order."""
        return 2 + 2 * (self.curve_steps - 1) * (MAPS + 1)  # the ends of all curves are the same two images

    def metrics(self, height: int, width: int) -> dict[str, int]:
        """The numbers for metrics/explain.json."""
        return {
            "integrated_gradients_steps": self.gradient_steps,
            "occlusion_windows": len(occlusion.windows(height, width, self.windows_per_side)),
            "faithfulness_steps": self.curve_steps,
        }

    def notes(self, height: int, width: int) -> list[str]:
        """One sentence that says what a coarser detail than the finest uses; none for the finest."""
        if self == FINEST:
            return []
        windows = len(occlusion.windows(height, width, self.windows_per_side))
        return [
            f"Coarser for this network and image size: integrated gradients in {counted(self.gradient_steps, 'step')}, "
            f"occlusion in {counted(windows, 'window')}, curves in {counted(self.curve_steps, 'step')}."
        ]


FINEST = Detail(32, occlusion.WINDOWS_PER_SIDE, 12)  # twice as many steps of a curve change no area by more than 0.003
DETAILS = (FINEST, Detail(16, 9, 12), Detail(12, 7, 6), Detail(8, 5, 6), Detail(4, 4, 4))


def plan(seconds: float, height: int, width: int, shown: int, wanted: int) -> tuple[Detail, int]:
    """The detail of the maps, and on how many images they are measured, for a forward pass of nominal `seconds`.

    `shown` images get maps too. The result is the finest detail with which SECONDS are enough for `wanted` images, or
    for ENOUGH if those are fewer; then as many images as SECONDS allow, at least 2.
    """
    for detail in DETAILS:
        maps = detail.map_passes(height, width)
        count = int((SECONDS / seconds - shown * maps) / (maps + detail.curve_passes()))
        if count >= min(wanted, ENOUGH):
            break
    return detail, min(wanted, max(2, count))

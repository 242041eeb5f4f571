"""Choose the size of a network's inputs for `preprocess.image_size = auto`."""

import numpy as np

MAX_AUTO_SIZE = 64  # pixels per side, for larger images or images of several sizes: it keeps a training short


def choose(wanted: int | str, sizes: np.ndarray) -> tuple[tuple[int, int], str]:
    """Height and width of a network's inputs, and how "auto" chose them: a line for people, empty for a number.

    `sizes` (N, 2) are height and width of the originals.
    """
    if wanted != "auto":
        return (wanted, wanted), ""
    height, width = sizes.max(0).tolist()
    several = bool((sizes != sizes[0]).any())
    start = "preprocess.image_size = auto:"
    if not several and max(height, width) <= MAX_AUTO_SIZE:
        return (height, width), f"{start} {height} x {width} pixels, as all images have"
    reason = f"several sizes, up to {height} x {width}" if several else f"{height} x {width}"
    is_reduced = max(height, width) > MAX_AUTO_SIZE
    advice = "to keep more detail (224 for most pretrained networks)" if is_reduced else "for another size"
    return (MAX_AUTO_SIZE, MAX_AUTO_SIZE), (
        f"{start} {MAX_AUTO_SIZE} x {MAX_AUTO_SIZE} pixels, because the images have {reason}; set a number {advice}"
    )

"""scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels."""

import numpy as np
import torch

from aimc_robust.data.sources.npz import Arrays


def load_digits_images(size: int | None, resize: int | None) -> Arrays:
    """Return images (N, H, W, 1) in 0 to 1, scaled to `resize` (bilinearly) and cropped to `size`, and labels (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    if size is not None:
        side, planes = resize or size, torch.from_numpy(images).movedim(-1, 1)
        scaled = torch.nn.functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)
        start = (side - size) // 2
        images = scaled[..., start : start + size, start : start + size].movedim(1, -1).contiguous().numpy()
    return images, digits.target

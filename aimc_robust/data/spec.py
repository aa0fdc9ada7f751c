"""Which images a comparison trains, selects and tests on."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.streaming import StreamedAugmentation
from aimc_robust.errors import InputError
from aimc_robust.io.from_table import from_table
from aimc_robust.io.toml import StrictModel

WHEREABOUTS = frozenset({"root", "download"})  # fields that say where images come from, not which they are


class DataSpec(StrictModel):
    """Which images. Paths start from the spec's folder.

    name: `digits` (scikit-learn's, 8 x 8); `npz:FILE` with x_train, y_train, x_test, y_test; `torchvision:NAME`, one of
        `torchvision_sets.DATASETS`, in the folder `root`; or `folder:FOLDER` (`image_folders`: train/ and test/ or val/
        with a folder for each class, or Tiny-ImageNet's layout).
    download: let torchvision fetch what `root` lacks.
    size, resize: each image's shorter side is scaled (bilinearly) to `resize` (default: size), and a square of side
        `size` cut out of its middle, of training images too unless `augmentation` cuts otherwise. None: images as they
        are.
    validation: "split" holds `validation_share` of the training images out to select on; "test" selects on the test
        images and trains on all others, as both papers do.
    classes: only images of the labels below this. train_images, test_images: only so many, drawn by the spec's seed
        (validation images are held out of the former).
    mean, std: of each channel (or one number for all), of pixels in 0 to 1, to normalise with. None: those of the
        training images, or ImageNet's where images are streamed.
    stream: leave images in their files and decode them when they are needed: for sets that memory does not hold.
    augmentation: fields of `Augmentation`, or of `StreamedAugmentation` where images are streamed.
    """

    name: str
    root: str = "data"
    download: bool = False
    size: int | None = pydantic.Field(default=None, ge=1)
    resize: int | None = pydantic.Field(default=None, ge=1)
    test_share: float = pydantic.Field(default=1 / 3, gt=0, lt=1)  # of digits; others bring their own test split
    validation: Literal["split", "test"] = "split"
    validation_share: float = pydantic.Field(default=0.15, gt=0, lt=1)
    classes: int | None = pydantic.Field(default=None, ge=2)
    train_images: int | None = pydantic.Field(default=None, ge=1)
    test_images: int | None = pydantic.Field(default=None, ge=1)
    mean: list[float] | None = pydantic.Field(default=None, min_length=1)
    std: list[pydantic.PositiveFloat] | None = pydantic.Field(default=None, min_length=1)
    stream: bool = False
    augmentation: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> DataSpec:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError(
                f"mean and std go together, a number of each for each channel; got {self.mean}, {self.std}"
            )
        if self.resize is not None and self.resize < (self.size or self.resize + 1):
            raise ValueError(f"resize = {self.resize} needs a size that is no larger, which is cut out after it")
        if self.size is not None and self.name.startswith("npz:"):
            raise ValueError("size is for digits, folders and torchvision's data sets; an .npz is used as it is")
        if self.stream and (self.size is None or not self.name.startswith(("folder:", "torchvision:"))):
            raise ValueError(
                "stream = true is for image files, of a folder: or torchvision: data set, and needs the size that each "
                "is cut to"
            )
        return self

    def built_augmentation(self) -> Augmentation | StreamedAugmentation:
        """What each training image goes through.

        A field of the other kind of set may stand in the table, switched off, so that a smaller variant of a spec can
        be on another kind of set. Raises InputError for one that is switched on.
        """
        cls, other = (Augmentation, StreamedAugmentation)[:: -1 if self.stream else 1]
        table, own = dict(self.augmentation), set(cls.__dataclass_fields__)
        for key in sorted((set(table) & set(other.__dataclass_fields__)) - own):
            if table.pop(key) and key != "ratio":  # without an area the ratio does nothing
                kind = "in memory (stream = false)" if self.stream else "streamed (stream = true)"
                raise InputError(f"augmentation: {key} is for images that are {kind}; leave it out here.")
        return from_table(cls, table, what="augmentation")

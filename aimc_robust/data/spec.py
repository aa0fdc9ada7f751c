"""Spec of the data that a comparison trains, selects and tests on."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pydantic

from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.errors import InputError
from aimc_robust.io.table_model import as_validation_error, table_model
from aimc_robust.io.toml import StrictModel
from aimc_robust.io.user_code import is_reference, refuse_standard_library

Source = Literal["digits", "npz", "folder", "torchvision", "csv", "parquet", "function"]
TABLES: tuple[Source, ...] = ("csv", "parquet")
LOCATION_FIELDS = frozenset({"root", "download"})  # fields that say where images come from, not which they are


IMAGE_FIELDS = frozenset({"download", "size", "resize", "classes", "mean", "std", "stream", "augmentation"})


def data_source(name: str) -> Source | None:
    """Return which source a name of data has; None for a name of no known form."""
    kind, _, location = name.partition(":")
    if name == "digits" or (location and kind in get_args(Source)[1:-1]):
        return kind  # type: ignore[return-value]
    return "function" if is_reference(name) else None


class AugmentationTable(table_model(StreamedAugmentation, "StreamedKeys", partial=True)):  # type: ignore[misc]
    """Fields of both augmentations; `DataSpec.stream` says which one is built."""

    crop: int = 0
    cutout: int = 0
    cutout_probability: float = 1.0


class DataSpec(StrictModel):
    """Spec of a data set. Paths are relative to the spec's folder.

    Attributes:
        name: `digits` (scikit-learn's, 8 x 8); `npz:FILE` with x_train, y_train, x_test, y_test; `torchvision:NAME`,
            one of `data.sources.torchvision_catalog.DATASETS`, in the folder `root`; or `folder:FOLDER`
            (`data.sources.folders`: train/ and test/ or val/ with a folder for each class, or Tiny-ImageNet's layout).
            Tables: `csv:FILE` and `parquet:FILE` (`data.sources.tables`). Anything else: `package.module:function`,
            which is called with "training", "validation" and "test" and returns or yields batches.
        labels: Columns of a table that are labels; empty: its last column. All others are inputs.
        options: Keyword arguments of the function.
        root: Folder of torchvision's data sets.
        download: Let torchvision download missing files.
        size: Side of the square that is cropped from the center of each image [pixels]; of training images too, unless
            `augmentation` crops otherwise. None keeps the images unchanged.
        resize: Length that the shorter side is first scaled to (bilinearly) [pixels]; None means `size`.
        test_share: Share of `digits`, and of a table without a column `split`, in the test split; other sources have
            their own test split.
        validation: `split` holds `validation_share` of the training images out to select on, unless a table or a
            function has a validation split; `test` selects on the test images and trains on all others, as both papers
            do.
        validation_share: Share of the training images in the validation split.
        classes: Use only images with labels below this.
        train_images: Size of a random subset of the training images, before validation images are held out.
        test_images: Size of a random subset of the test images.
        mean: Mean to normalize with, of each channel (or one number for all), for pixels in 0 to 1. None means that of
            the training images, or ImageNet's where images are streamed.
        std: Standard deviation to normalize with, given together with `mean`.
        stream: Leave images in their files and decode them when they are needed, for sets larger than memory.
        augmentation: Fields of `Augmentation`, or of `StreamedAugmentation` where images are streamed.
    """

    name: str
    labels: list[str] = pydantic.Field(default_factory=list)
    options: dict[str, Any] = pydantic.Field(default_factory=dict)
    root: str = "data"
    download: bool = False
    size: int | None = pydantic.Field(default=None, ge=1)
    resize: int | None = pydantic.Field(default=None, ge=1)
    test_share: float = pydantic.Field(default=1 / 3, gt=0, lt=1)
    validation: Literal["split", "test"] = "split"
    validation_share: float = pydantic.Field(default=0.15, gt=0, lt=1)
    classes: int | None = pydantic.Field(default=None, ge=2)
    train_images: int | None = pydantic.Field(default=None, ge=1)
    test_images: int | None = pydantic.Field(default=None, ge=1)
    mean: list[float] | None = pydantic.Field(default=None, min_length=1)
    std: list[pydantic.PositiveFloat] | None = pydantic.Field(default=None, min_length=1)
    stream: bool = False
    augmentation: AugmentationTable = pydantic.Field(default_factory=AugmentationTable)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> DataSpec:
        if self.source == "function":
            refuse_standard_library(self.name, self.name.partition(":")[0], "data")
        if self.source in (*TABLES, "function"):
            fields = type(self).model_fields
            defaults = {key: fields[key].get_default(call_default_factory=True) for key in IMAGE_FIELDS}
            if given := sorted(key for key, default in defaults.items() if getattr(self, key) != default):
                raise ValueError(f"{', '.join(given)}: only for images, not for {self.name}; leave it out")
        if self.labels and self.source not in TABLES:
            raise ValueError(f"labels are columns of a csv: or parquet: table, got {self.labels} for {self.name}")
        if self.options and self.source != "function":
            raise ValueError(f"options are arguments of a package.module:function, got {self.options} for {self.name}")
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError(
                f"mean and std need the same number of values, one for each channel; got {self.mean}, {self.std}"
            )
        if self.resize is not None and self.resize < (self.size or self.resize + 1):
            raise ValueError(f"resize = {self.resize} needs a size of at most that, which is cropped after scaling")
        if self.size is not None and self.name.startswith("npz:"):
            raise ValueError("size applies to digits, folders and torchvision's data sets, not to an .npz file")
        if self.stream and (self.size is None or not self.name.startswith(("folder:", "torchvision:"))):
            raise ValueError(
                "stream = true applies to image files, of a folder: or torchvision: data set, and needs the size that "
                "each image is cropped to"
            )
        with as_validation_error("augmentation"):
            self.build_augmentation()
        return self

    @property
    def source(self) -> Source | None:
        """Where the data come from; None for a name of no known form."""
        return data_source(self.name)

    def build_augmentation(self) -> Augmentation | StreamedAugmentation:
        """Build the augmentation of the training images.

        Fields of the other type of augmentation are accepted if they are switched off, so that a smaller variant of a
        spec can use data that are streamed or not.
        """
        cls = StreamedAugmentation if self.stream else Augmentation
        table = self.augmentation.arguments()
        for key in sorted(set(table) - set(cls.__dataclass_fields__)):
            if table.pop(key) and key not in ("ratio", "cutout_probability"):  # no effect without `area`, `cutout`
                kind = "in memory (stream = false)" if self.stream else "streamed (stream = true)"
                raise InputError(f"augmentation: {key} applies to images that are {kind}; remove it here.")
        return cls(**table)

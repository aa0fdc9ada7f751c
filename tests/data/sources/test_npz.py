"""An .npz file with a member that is no array of images or labels: one sentence that names file and member."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.for_each import for_each

from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.data.loading import load_data
from aimc_robust.data.sources.npz import SPLITS
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import DataError


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def whole():
    """The members of a file that can be read."""
    pixels, labels = np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2
    return {name: npy(pixels if name.startswith("x") else labels) for name in SPLITS}


def write(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def header_without_numbers():
    return npy(np.zeros((8, 4, 4, 1)))[:-100]


ANY = {
    "text": (b"no numbers", "is no array"),
    "nothing": (b"", "is no array"),
    "a pickled object": (npy(np.array([{}] * 8, dtype=object)), "cannot be read as a plain array"),
    "a damaged header": (b"\x93NUMPY\x01\x00\x10\x00 broken header  ", "cannot be read as a plain array"),
    "numbers cut off": (header_without_numbers(), "cannot be read as a plain array"),
    "one number": (npy(np.array(3)), r"got int64 \(\)"),
    "text as numbers": (npy(np.full((8, 4, 4, 1), "a")), "got <U1"),
    "complex numbers": (npy(np.zeros((8, 4, 4, 1), complex)), "got complex128"),
    "records": (npy(np.zeros(8, [("a", int)])), "got"),
}
IMAGES = {"numbers beyond float32": (npy(np.full((8, 4, 4, 1), 1e300)), "beyond float32")}
LABELS = {
    "fractions": (npy(np.linspace(0, 1, 8)), "one whole number per image"),
    "below 0": (npy(np.arange(8) - 1), "label -1"),
    "beyond 64 bits": (npy(np.full(8, 2**63, np.uint64)), "label 9223372036854775808"),
}
CASES = [
    *((member, fault, *ANY[fault]) for fault in ANY for member in SPLITS),
    *((member, fault, *IMAGES[fault]) for fault in IMAGES for member in ("x_train", "x_test")),
    *((member, fault, *LABELS[fault]) for fault in LABELS for member in ("y_train", "y_test")),
]


def of_a_spec(path):
    return load_data(DataSpec(name=f"npz:{path.name}"), data_seed=0, folder=path.parent)


def of_an_evaluation(path):
    return load_evaluation_images(f"npz:{path}")


def of_an_evaluation_as_stored(path):
    return load_evaluation_images(f"npz:{path}", normalize="none")


@pytest.mark.parametrize("load", [of_a_spec, of_an_evaluation, of_an_evaluation_as_stored])
@for_each(("member", "fault", "content", "message"), CASES)
def test_a_member_that_is_no_array_is_named(tmp_path, load, member, fault, content, message):
    path = write(tmp_path / "images.npz", whole() | {member: content})
    if load is of_an_evaluation_as_stored and member.endswith("train"):
        assert load(path).count == 8  # it reads the test images alone
        return
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert f"images.npz: {member} " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", [of_a_spec, of_an_evaluation, of_an_evaluation_as_stored])
def test_a_member_that_is_no_npy_file_is_named(tmp_path, load):
    path = write(tmp_path / "images.npz", whole())
    with zipfile.ZipFile(path) as file:
        members = {name.removesuffix(".npy"): file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy" if name != "y_test" else name, b"labels" if name == "y_test" else content)
    with pytest.raises(DataError, match=r"images\.npz: y_test is no array"):
        load(path)


@pytest.mark.parametrize("load", [of_a_spec, of_an_evaluation, of_an_evaluation_as_stored])
def test_a_single_array_and_a_damaged_member_are_named(tmp_path, load):
    path = tmp_path / "images.npz"
    path.write_bytes(npy(np.zeros(3)))
    with pytest.raises(DataError, match=r"images\.npz holds a single array"):
        load(path)
    data = bytearray(write(path, whole()).read_bytes())
    start = data.index(b"x_test.npy") + 200  # within its pixels, which a checksum of the zip file covers
    data[start] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"images\.npz: x_test cannot be read as a plain array"):
        load(path)


def test_one_file_reads_npz_files_of_images_and_one_those_of_device_states():
    package = Path(load_data.__code__.co_filename).parents[1]
    readers = [path.name for path in package.rglob("*.py") if "np.load(" in path.read_text()]
    assert sorted(readers) == ["array_files.py", "npz.py"]

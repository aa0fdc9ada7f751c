"""What training programs store beside weights is no obstacle, and none of its code runs."""

import argparse
import collections
import datetime
import pathlib
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from aimc_robust.errors import CheckpointError
from aimc_robust.models.torch_file import read_torch_file

WEIGHT = torch.arange(6.0)
BESIDE = {
    "timm's args": argparse.Namespace(lr=0.1, opt="sgd", mean=(0.5, 0.5), aug={"scale": [0.1, 1.0]}, seed=None),
    "a namespace of everything": argparse.Namespace(a=range(3), b=slice(1), c=frozenset([1]), d=float, e={2}, f=b"x"),
    "a simple namespace": types.SimpleNamespace(lr=0.1),
    "a path": pathlib.Path("runs") / "a",
    "a path of Windows": pathlib.PureWindowsPath("c:/runs"),
    "a dict with a default": collections.defaultdict(list, {"loss": [1.0, 0.5]}),
    "a deque": collections.deque([1.0, 2.0], maxlen=5),
    "a counter": collections.Counter({3: 1}),
    "an ordered dict": collections.OrderedDict(lr=0.1),
    "numpy's scalars": [np.float64(93.1), np.int64(7), np.bool_(True), np.str_("a")],
    "numpy's arrays": {"history": np.arange(3.0), "names": np.array(["a", "b"]), "objects": np.array([{}], object)},
    "numpy's random state": np.random.RandomState(0).get_state(),
    "numpy's dtype": np.dtype("float32"),
    "torch's random state": torch.get_rng_state(),
    "a size, a dtype, a device": [torch.Size([1, 2]), torch.float16, torch.device("cpu")],
    "torch's version": torch.__version__,
    "a time": [datetime.datetime(2024, 1, 2), datetime.timedelta(1), datetime.date(2024, 1, 2)],
    "plain values": [True, 2**70, -0.5, "text", b"bytes", None, 1 + 2j, {1, 2}, (3,)],
}


def written(path, held, **options):
    torch.save(held, path, **options)
    return path, path.read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", BESIDE)
def test_weights_are_read_beside(name, zipped, tmp_path):
    path, data = written(
        tmp_path / "x.pt", {"w": WEIGHT, "beside": BESIDE[name], "b": -WEIGHT}, _use_new_zipfile_serialization=zipped
    )
    content = read_torch_file(path, data)
    assert torch.equal(content["w"], WEIGHT)
    assert torch.equal(content["b"], -WEIGHT)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_scalars_of_numpy_1_and_2(module, tmp_path):
    path, data = written(tmp_path / "x.pt", {"w": WEIGHT, "best": np.float64(1)}, _use_new_zipfile_serialization=False)
    assert b"numpy._core.multiarray" in data
    content = read_torch_file(path, data.replace(b"numpy._core.multiarray", module.encode()))
    assert torch.equal(content["w"], WEIGHT)


def test_what_a_default_dict_and_a_deque_hold_is_kept(tmp_path):
    held = {"d": collections.defaultdict(dict, {"a": {"w": WEIGHT}}), "q": collections.deque([WEIGHT])}
    content = read_torch_file(*written(tmp_path / "x.pt", held))
    assert torch.equal(content["d"]["a"]["w"], WEIGHT)
    assert torch.equal(content["q"][0], WEIGHT)


class OwnNamespace(argparse.Namespace):
    pass


class OwnPath(type(pathlib.Path())):
    pass


class OwnDict(collections.defaultdict):
    pass


OTHERS = {
    "a namespace of one's own": (OwnNamespace(lr=0.1), "OwnNamespace"),
    "a path of one's own": (OwnPath("x"), "OwnPath"),
    "a dict of one's own": (OwnDict(list, a=[1]), "OwnDict"),
    "inside a namespace": (argparse.Namespace(loss=nn.CrossEntropyLoss()), "torch.nn.modules.loss.CrossEntropyLoss"),
    "a function": (argparse.Namespace(act=torch.nn.functional.relu), "torch.nn.functional.relu"),
    "a function of numpy": ([np.mean], "numpy.mean"),
    "a way to all": ([getattr], "getattr"),
    "a way to run": ([eval], "eval"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_objects_of_other_classes_are_refused_by_name(name, tmp_path):
    held, named = OTHERS[name]
    path, data = written(tmp_path / "x.pt", {"state_dict": {"w": WEIGHT}, "args": held})
    with pytest.raises(CheckpointError, match=rf"x\.pt is a pickle of more than tensors, it holds \S*{named};"):
        read_torch_file(path, data)


def test_nothing_of_an_inert_object_is_built(tmp_path):
    """Arguments and state of an allowed name are dropped: not even its constructor runs."""

    class Loud:
        def __reduce__(self):
            return argparse.Namespace, (1, 2, 3)  # the real class raises TypeError

    path, data = written(tmp_path / "x.pt", {"w": WEIGHT, "a": Loud(), "b": argparse.Namespace(lr=0.1)})
    with pytest.raises(TypeError, match="positional"):
        torch.load(path, weights_only=False)  # control
    content = read_torch_file(path, data)
    assert not isinstance(content["a"], argparse.Namespace)
    assert vars(content["a"]) == vars(content["b"]) == {}


def test_the_names_that_torch_takes_elsewhere_stay_as_they_were(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    path, data = written(tmp_path / "x.pt", BESIDE["timm's args"])
    read_torch_file(path, data)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(Exception, match=r"argparse\.Namespace"):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("package", ["aihwkit", "aihwkit_lightning"])
def test_objects_of_aihwkit_are_read_without_their_content_and_no_others(package, tmp_path, monkeypatch):
    class RPUConfig:
        def __setstate__(self, state):
            raise AssertionError("code of the file ran")

    module = types.ModuleType(f"{package}.configs")
    RPUConfig.__module__, RPUConfig.__qualname__, module.RPUConfig = module.__name__, "RPUConfig", RPUConfig
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    config = RPUConfig()
    config.bits = 8
    path, data = written(tmp_path / "x.pt", {"w": WEIGHT, "rpu_config": config})
    with pytest.raises(AssertionError, match="code of the file ran"):
        torch.load(path, weights_only=False)  # control
    monkeypatch.undo()  # not installed
    content = read_torch_file(path, data)
    assert torch.equal(content["w"], WEIGHT)
    assert vars(content["rpu_config"]) == {}
    with pytest.raises(CheckpointError, match="OwnNamespace"):
        read_torch_file(*written(tmp_path / "y.pt", {"aihwkit": OwnNamespace(lr=0.1)}))

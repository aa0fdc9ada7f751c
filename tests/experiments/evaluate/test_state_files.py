"""`evaluate --save-states`: files of states for the programmer of a chip."""

import numpy as np
import torch
from safetensors.torch import save_file
from support.command_line import invoke
from support.models import digest
from support.nets import images, net

from aimc_robust import Crossbar, FaultMap, device_states, program


def test_the_command_writes_the_states_of_chip_0(tmp_path):
    (tmp_path / "states_net.py").write_text("from support.nets import net as build\n")
    save_file(net().state_dict(), tmp_path / "good.safetensors")
    with torch.no_grad():
        np.savez(tmp_path / "test.npz", x_test=images(30)[:, 0].numpy(), y_test=net()(images(30)).argmax(1).numpy())
    devices = ["--device", "rram-milo2021", "--device", "gaussian-0.05", "--times", "0", "--set", "rows=20"]
    done = invoke(
        *("evaluate", "good.safetensors", "--model", "states_net:build", "--data", "npz:test.npz", *devices),
        *("--chips", "2", "--jobs", "1", "--out", "out", "--save-states"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out" / "states").iterdir()
    assert path.name == "good-seed0-rram-milo2021.npz"
    assert str(path.relative_to(tmp_path)) in done.stdout
    crossbar = Crossbar("rram-milo2021", rows=20, read_noise=False)
    assert digest(program(net(), crossbar, states=path)) == digest(program(net(), crossbar))
    assert FaultMap.load(path) == FaultMap(device_states(net(), crossbar).programmed, unit="uS")

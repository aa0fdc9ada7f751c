"""Results of a comparison may be in an object store; elsewhere a URL is refused, and no folder named s3: is written."""

import pytest
from support.command_line import invoke

from aimc_robust.errors import InputError
from aimc_robust.io.object_store import ObjectStore

URL = "s3://bucket/results"
COMMANDS = {
    "evaluate": ["w.safetensors", "--model", "small-cnn", "--data", "digits", "--device", "rram-wan2022", "--out", URL],
    "pack": ["results", "--out", URL],
    "compare": [f"{URL}/spec.toml"],
    "devices": ["rram-wan2022", "--plot", f"{URL}.png"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_url_is_refused_in_one_sentence(command, tmp_path):
    done = invoke(command, *COMMANDS[command], cwd=tmp_path)
    assert done.returncode == 2
    url = next(argument for argument in COMMANDS[command] if argument.startswith(URL))
    assert f"got the URL {url}; only results of a comparison may be in an object store" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["merge", "a", "b", "--out"], ["report"], ["compare", "spec.toml", "--out"]])
def test_a_lost_slash_is_told_and_no_folder_written(command, tmp_path):
    (tmp_path / "spec.toml").write_text('name = "a"')
    done = invoke(*command, "s3:/bucket/results", cwd=tmp_path)
    assert done.returncode == 2
    assert "with two slashes, got s3:/bucket/results" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize("url", ["file:///data/results", "local:///data/results"])
def test_a_url_of_this_machine_is_refused(url):
    with pytest.raises(InputError, match="give a folder as its path"):
        ObjectStore(url)

"""A spec that the tool writes out is read back as the same spec."""

import tomllib

import tomli_w

from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict


def test_a_spec_with_its_cards_is_read_back_as_the_same_question(write_spec, tmp_path):
    spec = load_spec(write_spec())
    path = tmp_path / "again.toml"
    path.write_text(tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True)))
    assert load_spec(path) == spec
    assert spec_from_dict(tomllib.loads(path.read_text())) == spec

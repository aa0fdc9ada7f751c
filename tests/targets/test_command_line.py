"""What a command line names becomes targets: times, options, devices."""

import pytest

from aimc_robust.devices.library import cards_folder, load_card
from aimc_robust.errors import AimcError, InputError
from aimc_robust.io.toml import parse_settings
from aimc_robust.targets.build import build_target, build_targets
from aimc_robust.targets.command_line import parse_times, target_tables


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", [0.0]),
        ("0,1h,1d,5d", [0.0, 3600.0, 86400.0, 432000.0]),
        ("90min", [5400.0]),
        ("1e3", [1000.0]),
        ("20 s, 1.5h", [20.0, 5400.0]),
        ("1y", [31536000.0]),
        ("5d,0,1d", [0.0, 86400.0, 432000.0]),
        ("60min,1h,3600", [3600.0]),
    ],
)
def test_times_are_seconds_that_rise(text, seconds):
    assert parse_times(text) == seconds


@pytest.mark.parametrize("text", ["", "1h,", "soon", "-1h", "1 week", "1h2min", "inf", "0x10"])
def test_what_is_no_time_is_quoted_back(text):
    wrong = next(part.strip() for part in text.split(",") if part.strip() not in ("1h",))
    with pytest.raises(InputError, match="got") as told:
        parse_times(text)
    assert repr(wrong) in str(told.value)


def test_a_time_longer_than_any_memory_lives_is_refused():
    with pytest.raises(InputError, match="time_s"):
        parse_times("1e12")


def test_options_are_nested_keys_with_values_in_toml():
    settings = ["rows=256", "adc.bits=8", "adc.range = static", "window=[1,30]", "read_noise=false", 'name="a=b"']
    assert parse_settings(settings) == {
        "rows": 256,
        "adc": {"bits": 8, "range": "static"},
        "window": [1, 30],
        "read_noise": False,
        "name": "a=b",
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize("setting", ["rows", "=3", "adc..bits=3", "a b=3", "adc.=3"])
def test_a_setting_without_a_key_or_a_value_is_refused(setting):
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_settings([setting])


def test_a_value_cannot_have_keys_too():
    with pytest.raises(InputError, match="adc"):
        parse_settings(["adc=8", "adc.bits=8"])


@pytest.mark.filterwarnings("ignore:rram-milo2021 has a card without drift")
def test_devices_that_age_are_evaluated_at_each_time_and_others_at_the_first():
    tables = target_tables(["rram-milo2021", "sonos-agrawal2022"], [0.0, 3600.0, 86400.0], {})
    names = ["rram-milo2021", "sonos-agrawal2022", "sonos-agrawal2022-1h", "sonos-agrawal2022-1d"]
    assert [table["name"] for table in tables] == names
    assert [table["time_s"] for table in tables] == [0.0, 0.0, 3600.0, 86400.0]


def test_cards_are_written_out_so_that_the_question_needs_no_file():
    (table,) = target_tables(["rram-milo2021"], [0.0], {"rows": 64})
    assert table["device"] == load_card("rram-milo2021").model_dump(mode="json", exclude_none=True)
    built = build_target(table)
    assert (built.condition.device.cell, built.condition.arrays.rows) == (load_card("rram-milo2021"), 64)


def test_a_card_of_the_users_own_is_read_from_its_path(tmp_path):
    text = (cards_folder() / "rram-milo2021.toml").read_text().replace("rram-milo2021", "mine")
    (tmp_path / "mine.toml").write_text(text)
    (table,) = target_tables([str(tmp_path / "mine.toml")], [0.0], {})
    assert (table["name"], table["device"]["name"]) == ("mine", "mine")
    with pytest.raises(InputError, match=r"there is no device card at .*gone.toml"):
        target_tables([str(tmp_path / "gone.toml")], [0.0], {})


def test_a_table_in_toml_has_the_last_word_over_the_common_options():
    device = '{name = "small", device = "sonos-agrawal2022", rows = 64, adc = {bits = 6}, time_s = 60}'
    (table,) = target_tables([device], [0.0, 3600.0], {"rows": 256, "columns": 32})
    target = build_target(table)
    assert (target.name, target.time_s) == ("small", 60)  # a time of its own is kept
    assert (target.condition.arrays.rows, target.condition.arrays.columns) == (64, 32)
    assert target.condition.periphery.adc.bits == 6


def test_noises_stay_names_and_digital_weights_are_there_anyway():
    assert target_tables(["digital", "gaussian-0.05", "laplace-0.1"], [0.0, 60.0], {}) == [
        "gaussian-0.05",
        "laplace-0.1",
    ]
    with pytest.raises(InputError, match="--device"):
        target_tables(["digital"], [0.0], {})


def test_the_same_target_twice_is_refused_and_may_be_named():
    with pytest.raises(InputError, match="rram-milo2021"):
        target_tables(["rram-milo2021", "rram-milo2021"], [0.0], {})
    named = '{name = "again", device = "rram-milo2021"}'
    assert len(target_tables(["rram-milo2021", named], [0.0], {})) == 2


@pytest.mark.parametrize("text", ["compensation=drift", "compensation=['drift']"])
def test_one_compensation_needs_no_list(text):
    (table,) = target_tables(["pcm-nandakumar2019"], [3600.0], parse_settings([text]))
    names = [target.name for target in build_targets(table)]
    assert names == ["pcm-nandakumar2019-1h", "pcm-nandakumar2019-1h-drift"]


def test_a_compensated_target_comes_with_the_plain_one_and_both_names_count():
    compensated = '{name = "a", device = "pcm-nandakumar2019", compensation = ["drift"], time_s = 3600}'
    with pytest.raises(InputError, match="drift"):
        target_tables([compensated, '{name = "a-drift", device = "rram-milo2021"}'], [0.0], {})


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("rram-milo", "'rram-milo2021'"),
        ("gaussian", "Known: "),
        ('{name = "a", device = "rram-milo"}', "rram-milo2021"),
        ('{device = "rram-milo2021", row = 3}', "'rows'"),
    ],
)
def test_an_unknown_name_says_what_there_is(device, words):
    with pytest.raises(AimcError, match=words):
        target_tables([device], [0.0], {})


@pytest.mark.parametrize(
    "table",
    [
        '{name = "a", noise = "gaussian", radius = 1.0}',
        '{name = "a", noise = "gaussian", sigma = 0.1, split = "training"}',
    ],
)
def test_what_depends_on_the_model_or_on_training_images_is_for_comparisons(table):
    with pytest.raises(InputError, match=r"a depends on the trained model or on training images.*`compare`"):
        target_tables([table], [0.0], {})


@pytest.mark.parametrize("device", ["{name = }", "{", '{device = "rram-milo2021"'])
def test_a_table_that_is_no_toml_is_refused_with_an_example(device):
    with pytest.raises(InputError, match="TOML"):
        target_tables([device], [0.0], {})


def test_what_leaves_a_cards_limits_is_not_told_yet(recwarn):
    target_tables(["sonos-agrawal2022"], [3.0e9], {})
    assert not recwarn.list


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("rram-milo2021", "rram-milo2021 has a card without drift: it is evaluated once, not at 1h, 1d too"),
        ("gaussian-0.1", "gaussian-0.1 does not change with time: it is evaluated once, not at 1h, 1d too"),
        (
            '{device = "rram-wan2022-drift", time_s = 60}',
            "has a time_s of its own: it is evaluated once, not at 1h, 1d",
        ),
    ],
)
def test_times_that_have_no_effect_are_named(device, words):
    with pytest.warns(UserWarning, match=words):
        assert len(target_tables([device], [0.0, 3600.0, 86400.0], {})) == 1


def test_times_that_have_an_effect_are_used_without_a_word(recwarn):
    assert len(target_tables(["rram-wan2022-drift"], [0.0, 3600.0], {})) == 2
    assert len(target_tables(["rram-milo2021"], [0.0], {})) == 1
    assert [str(warning.message) for warning in recwarn] == []

"""The settings of an `RPUConfig` of aihwkit or aihwkit-lightning, as an object or a dict, by their dotted names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, require_whole, short_repr, unknown_name
from aimc_robust.hardware.config.converters import MAX_BITS

# Settings of `forward` that have no counterpart, with the values that switch them off.
NOT_SIMULATED: dict[str, Any] = {
    "mv_type": "onepass",
    **dict.fromkeys(("inp_asymmetry", "out_asymmetry", "w_noise", "ir_drop"), 0.0),
    **dict.fromkeys(("out_nonlinearity", "v_offset_std", "r_series", "w_read_asymmetry_dtod"), 0.0),
    **dict.fromkeys(("inp_sto_round", "out_sto_round"), False),
}
# The settings that are known, by section; those that are not read act only with one above, or in training.
KNOWN: dict[str, set[str]] = {
    "forward": {
        *NOT_SIMULATED,
        *("is_perfect", "inp_bound", "inp_res", "out_bound", "out_res", "out_scale", "nm_thres", "noise_management"),
        *("inp_noise", "out_noise"),
        *("bound_management", "out_noise_std", "out_noise_per_channel", "w_noise_type", "ir_drop_g_ratio"),
        *("out_nonlinearity_std", "slope_calibration", "v_offset_w_min", "max_bm_factor", "max_bm_res"),
        *("bm_test_negative_bound", "ir_drop_rs", "ir_drop_segments", "ir_drop_time_step_resolution_scale"),
        *("ir_drop_v_read", "split_mode_bit_shift", "apply_xdep_pcm_read_noise", "xdep_pcm_read_noise_scale"),
        *("adc_quantization", "adc_frequency", "ir_drop_integration_sum"),
    },
    "mapping": {
        *("max_input_size", "max_output_size", "digital_bias", "weight_scaling_omega", "weight_scaling_columnwise"),
        *("weight_scaling_lr_compensation", "learn_out_scaling", "out_scaling_columnwise"),
    },
    "pre_post": {"input_range", "periph_quant"},
    "pre_post.input_range": {
        *("enable", "dynamic", "fast_mode", "learn_input_range", "init_value", "init_from_data", "init_std_alpha"),
        *("act_range_momentum", "decay", "input_min_percentage", "manage_output_clipping", "output_min_percentage"),
        *("gradient_scale", "gradient_relative", "calibration_info"),
    },
    "clip": {"type", "sigma", "fixed_value"},
    "remap": {"type", "remapped_wmax", "max_scale_range", "max_scale_ref"},
}
SECTIONS = {
    *KNOWN,
    *("noise_model", "drift_compensation", "modifier", "act_quant_config", "device", "backward", "update", "runtime"),
    *("tile_class", "tile_array_class", "simulator_tile_class"),
}


class SettingsReader:
    """Reads settings of a description by their dotted names, and collects what is not simulated."""

    def __init__(self, config: Any) -> None:
        self.problems: list[str] = []
        self.config, self.is_dict = _settings(config), isinstance(config, Mapping)
        if not self.config.keys() & SECTIONS:
            raise InputError(f"expected an RPUConfig of aihwkit, or a dict of its settings, got {short_repr(config)}.")
        self._check_known("", SECTIONS)
        for section, known in KNOWN.items():
            self._check_known(section, known)

    def get(self, name: str, default: Any) -> Any:
        """Return a setting; `default` where it is absent or None."""
        value: Any = self.config
        for key in name.split("."):
            value = _settings(value).get(key)
            if value is None:
                return default
        return value

    def word(self, name: str) -> str:
        """Return the value of an enumeration, in small letters without underscores; "none" where it is absent."""
        value = self.get(name, "none")
        return str(getattr(value, "value", value)).replace("_", "").lower()

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether a setting is on; raise InputError unless it is true or false."""
        value = self.get(name, default)
        if value not in (True, False):
            raise InputError(f"{name} must be true or false, got {short_repr(value)}.")
        return bool(value)

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a number; raise InputError for another value."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise InputError(f"{name} must be a finite number, got {short_repr(value)}.")
        return float(value)

    def size(self, name: str) -> int:
        """Return the largest size of an array; 0, unlimited, also for -1."""
        value = self.get(name, 0)
        require_whole(name, value, low=-1)
        return max(int(value), 0)

    def bits(self, name: str) -> int:
        """Return the bits of a resolution, in steps or their reciprocal; 0 where it is off (0 or below)."""
        value = self.number(name)
        if value <= 0:
            return 0
        steps = value if value > 1 else 1 / value
        bits = round(math.log2(steps + 2))
        if not math.isclose(steps, 2**bits - 2, rel_tol=1e-4) or not 2 <= bits <= MAX_BITS:
            raise InputError(
                f"{name} = {value:g} means {steps:g} steps; converters here have 2^n - 2 of them, with n from 2 to "
                f"{MAX_BITS}, such as 254."
            )
        return bits

    def check_off(self) -> None:
        """Note the settings of `forward` that are not simulated."""
        for key, off in NOT_SIMULATED.items():
            name = f"forward.{key}"
            if key == "w_noise" and self.word("forward.w_noise_type") == "none":
                continue
            value = self.word(name) if isinstance(off, str) else self.get(name, off)
            if value != off and not (isinstance(off, str) and value == "none"):
                self.problems.append(f"{name} = {self.get(name, off)}")
        if (scale := self.number("forward.out_scale", 1.0)) != 1:
            raise InputError(f"forward.out_scale = {scale:g} multiplies all outputs; only 1 can be translated.")

    def _check_known(self, section: str, known: set[str]) -> None:
        settings = self.get(section, {}) if section else self.config
        if not isinstance(settings, Mapping) and not hasattr(settings, "__dict__"):
            raise InputError(f"{section} must hold settings, such as {sorted(known)[0]}, got {short_repr(settings)}.")
        for key in _settings(settings).keys() - known:
            name = f"{section}.{key}" if section else key
            if self.is_dict:
                raise unknown_name("setting of an RPUConfig", name, [f"{section}.{k}" if section else k for k in known])
            self.problems.append(f"{name}, which is not known")


def _settings(value: Any) -> Mapping[str, Any]:
    """Return the settings of an object or a dict."""
    return value if isinstance(value, Mapping) else getattr(value, "__dict__", {})

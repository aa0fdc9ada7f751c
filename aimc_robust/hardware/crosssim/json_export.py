"""CrossSim's parameters of a crossbar as JSON, for CrossSim's own programs."""

import json

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters


def crosssim_json(crossbar: Crossbar, *, layer: LayerRanges | None = None, time_s: float = 0.0) -> str:
    """Return the parameters of CrossSim 3.2 that the backend `crosssim` uses for a crossbar, as JSON.

    Written to a file, `CrossSimParameters.from_json(FILE)` of CrossSim reads it. Biases stay digital there.

    Args:
        crossbar: Crossbar to translate.
        layer: Converter ranges of the layer that the parameters are for, from `calibrate`, if the crossbar needs them.
        time_s: Time since programming [s].

    Raises:
        InputError: if CrossSim cannot express the crossbar, or JSON its option `crosssim`.

    Examples:
        >>> import json
        >>> json.loads(crosssim_json(Crossbar("rram-milo2021", rows=256)))["core"]["rows_max"]
        256
    """
    require_type("crossbar", crossbar, Crossbar, example="a Crossbar; of a Placement, its crossbar_of('layer')")
    if crossbar.arrays.bias_rows:
        raise InputError(
            f"bias_rows = {crossbar.arrays.bias_rows} is no parameter of CrossSim, where they are rows of the matrix; "
            "use bias_rows=0, or the backend `crosssim`."
        )
    if layer is None and crossbar.periphery.needs_calibration:
        raise InputError(
            f"the parameters depend on the layer: give its ranges, layer=calibrate(model, crossbar, batches)[NAME], or "
            f"set the {' and the '.join(crossbar.periphery.calibrated)}."
        )
    parameters = crosssim_parameters(crossbar, layer=layer, time_s=time_s)
    try:
        return json.dumps(parameters, indent=4, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"JSON cannot hold the crossbar's option crosssim: {error}.") from None

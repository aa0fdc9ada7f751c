"""Crossbars with chosen error sources, built from their options one by one."""

from aimc_robust import ADC, DAC, Crossbar, Parasitics
from aimc_robust.evaluation.error_sources import SOURCES

ON = {
    "programming": {"programming": True},
    "drift": {"drift": True},
    "stuck": {"stuck": (0.01, 0.01)},
    "read": {"read_noise": True},
    "clipping": {"weight_percentile": 0.99},
    "quantisation": {"cell_bits": 4},
    "ir-drop": {"parasitics": Parasitics(row_ohm=150.0, column_ohm=150.0)},
    "dac": {"dac": DAC(bits=5)},
    "output": {"output_noise": 0.1},
    "adc": {"adc": ADC(bits=6)},
}
OFF = {
    "programming": {"programming": False},
    "drift": {"drift": False},
    "stuck": {"stuck": (0.0, 0.0)},
    "read": {"read_noise": False},
    "clipping": {"weight_percentile": 1.0},
    "quantisation": {"cell_bits": 0},
    "ir-drop": {"parasitics": None},
    "dac": {"dac": DAC(kind="ideal")},
    "output": {"output_noise": 0.0},
    "adc": {"adc": None},
}


def by_hand(kept):
    """A crossbar with these sources, built from its options."""
    options = {}
    for source in SOURCES:
        options |= (ON if source in kept else OFF)[source]
    return Crossbar("pcm-nandakumar2019", mapping="two-sided", rows=20, **options)

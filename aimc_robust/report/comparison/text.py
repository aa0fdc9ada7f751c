"""A comparison in words: differences, settings of methods, and what one method has of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aimc_robust.experiments.spec.comparison import METHOD_TABLES, ComparisonSpec
from aimc_robust.report.comparison.claims import Verdict
from aimc_robust.report.comparison.content import Content
from aimc_robust.report.formatting import bounds, interval
from aimc_robust.statistics.paired_difference import PairedDifference


def gain(difference: PairedDifference) -> str:
    """A difference with its sign and interval."""
    return f"{difference.mean:+.2f} points {interval(difference, 2)}".rstrip()


def partly(content: Content, difference: PairedDifference) -> str:
    """A remark where failures or unfinished work leave a difference over fewer models than the spec asks for."""
    wanted = len(content.store.spec.train_seeds)
    return "" if difference.seeds == wanted else f" (over the {difference.seeds} of {wanted} models that both have)"


def lead(verdict: Verdict) -> str:
    """The difference that a verdict rests on with its interval, or why there is none."""
    if verdict.difference is None or verdict.ci is None:
        return verdict.why
    return f"{verdict.difference:+.2f} points {bounds(*verdict.ci, 2)} over {verdict.covers}"


def sides(verdict: Verdict) -> str:
    """What the two sides of a statement scored, as far as there are rows."""
    if verdict.better is None or verdict.than is None or verdict.means is None:
        return ""
    scored = zip((verdict.better, verdict.than), verdict.means, strict=True)
    return ", ".join(f"{label} on {target} {mean:.2f} %" for (label, target), mean in scored)


def settings(spec: ComparisonSpec, label: str) -> str:
    """A method's settings as its spec gives them."""
    table = {key: value for key, value in spec.method_table(label).items() if key != "kind"}
    ramp = table.get("ramp")
    if isinstance(ramp, dict):
        length = f" over {ramp['updates']} updates" if "updates" in ramp else ""
        length += f" of a run of {ramp['run']}" if "run" in ramp else ""
        length = f" over {100 * ramp['fraction']:g} % of the run" if "fraction" in ramp else length
        table["ramp"] = ramp["shape"] + length
    if isinstance(table.get("noise"), dict):
        noise = table["noise"]
        table["noise"] = noise.get("name") or noise["device"]["name"]  # not the whole card
    return ", ".join(f"{key} {value}" for key, value in table.items()) or "–"


def own(spec: ComparisonSpec, label: str) -> str:
    """What a method's images, network or training have of their own; empty where they are all methods'."""
    tables = {part: spec.methods[label][part] for part in METHOD_TABLES if part in spec.methods[label]}
    return ", ".join(f"{key} {value}" for key, value in _flat(tables))


def owns(spec: ComparisonSpec) -> bool:
    """Whether some method has images, network or training of its own."""
    return any(own(spec, label) for label in spec.labels)


def passes(spec: ComparisonSpec, label: str) -> dict[str, str]:
    """How a method works: kind, batches per update, whose BatchNorm statistics are kept."""
    method = spec.method(label, seed=0)
    kind = spec.methods[label].get("kind", label)
    return {"kind": kind, "batches": str(method.batches_per_update), "bn_stats": method.bn_stats}


def networks(spec: ComparisonSpec) -> list[str]:
    """The names of all methods' networks, each once."""
    return list(dict.fromkeys(spec.model_of(label).name for label in spec.labels))


def other_images(spec: ComparisonSpec) -> bool:
    """Whether methods differ in their images."""
    return any(spec.data_of(label) != spec.data for label in spec.labels)


def landscape(spec: ComparisonSpec) -> str:
    """What the pictures of landscapes show."""
    one = len(networks(spec)) == 1
    text = (
        "Mean loss of the trained models over a plane through their weights, along two random directions whose filters "
        "are as long as the model's own (Li et al., Visualizing the Loss Landscape of Neural Nets, 2018): at 1 every "
        "filter has moved by its own length. A + marks the trained weights; where it is blank, some model's loss "
        f"overflowed. All methods {'' if one else 'of one network '}have the same directions, and all the same bands "
        "of loss. It is one draw of directions, so small differences may be chance."
    )
    return text + (" Losses on other images are not comparable." if other_images(spec) else "")


def kept(spec: ComparisonSpec) -> str:
    """Which epoch of a training is kept, in one sentence."""
    stopping = spec.config().early_stopping
    if stopping is None:
        return "The last epoch of each run is kept."
    sigmas = " and ".join(filter(None, [", ".join(f"{s:g}" for s in stopping.sigmas[:-1]), f"{stopping.sigmas[-1]:g}"]))
    for_each = ", one for each" if len(stopping.sigmas) > 1 else ""
    best = f"Of each run the epoch with the best accuracy under Gaussian noise of sigma {sigmas} ({stopping.scale}) on "
    if spec.data.validation == "test":
        return best + f"the TEST images is kept{for_each}, as the spec asks: accuracies are a little too good for it."
    return best + f"the validation split is kept{for_each}; the test images have no part in it."


def _flat(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value

"""Find the layer whose output a BatchNorm normalizes: in a trace, or where that fails, in a run on an example."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from aimc_robust.hardware.conversion.dispatch_mode import DispatchMode
from aimc_robust.noise.analog_weights import analog_weights, is_analog_layer
from aimc_robust.tasks.calling import call_model

MAX_BRANCHES, MAX_PATHS, MAX_OPTIONAL = 64, 256, 4


@dataclass(frozen=True)
class NotFoldable:
    """Why a BatchNorm cannot be folded."""

    reason: str = "its input is not one layer's output alone"


@dataclass
class Uses:
    """How a model uses its modules.

    Attributes:
        sources: BatchNorm -> layers whose output was its input, None for another input; one entry per call.
        calls: Number of calls of each module.
        read: Names of modules whose parameters the model's code reads itself, or whose output something else uses.
    """

    sources: dict[str, list[str | None]]
    calls: Counter[str]
    read: set[str]


class _Tracer(fx.Tracer):
    """Traces one path: where the code branches on a value, `decisions` say which way it goes, and grow."""

    proxy_buffer_attributes = True  # buffers that forward reads directly appear in the graph

    def __init__(self, decisions: list[bool]) -> None:
        super().__init__()
        self.decisions, self.taken = decisions, 0

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        """Do not look into layers and BatchNorms of a subclass."""
        is_leaf = isinstance(module, _BatchNorm) or is_analog_layer(module)
        return is_leaf or super().is_leaf_module(module, module_qualified_name)

    def to_bool(self, obj: Any) -> bool:
        """Go the way that the decisions say."""
        if self.taken == MAX_BRANCHES:
            raise fx.proxy.TraceError("the code branches too often")
        if self.taken == len(self.decisions):
            self.decisions.append(True)
        self.taken += 1
        return self.decisions[self.taken - 1]


def trace(model: nn.Module) -> list[Uses]:
    """Trace every path through the model's code, with and without each optional argument.

    Raises:
        Exception: What the model's forward raises under tracing, if it cannot be traced.
    """
    optional = {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    if len(optional) > MAX_OPTIONAL:
        raise fx.proxy.TraceError("the model takes too many optional arguments")
    left_out = [dict(c) for n in range(len(optional) + 1) for c in itertools.combinations(optional.items(), n)]
    graphs = [graph for absent in left_out for graph in _trace_paths(model, absent or None)]
    return [_uses_in(graph, _first_names(model), dict(model.named_modules(remove_duplicate=False))) for graph in graphs]


def _trace_paths(model: nn.Module, concrete_args: dict[str, Any] | None) -> list[fx.Graph]:
    """Trace both ways of every branch on a value. A path that ends in an error is one that no valid input takes."""
    graphs, decisions = [], list[bool]()
    for _ in range(MAX_PATHS):
        try:
            graphs.append(_Tracer(decisions).trace(model, concrete_args=concrete_args))
        except (ValueError, AssertionError, NotImplementedError) as error:
            if isinstance(error, fx.proxy.TraceError):
                raise
            refused = error
        while decisions and not decisions[-1]:
            decisions.pop()
        if not decisions:
            break
        decisions[-1] = False
    else:
        raise fx.proxy.TraceError("the code has too many paths")
    if not graphs:
        raise refused
    return graphs


def _first_names(model: nn.Module) -> dict[int, str]:
    return {id(module): name for name, module in model.named_modules()}


def _uses_in(graph: fx.Graph, names: dict[int, str], modules: dict[str, nn.Module]) -> Uses:
    uses = Uses({}, Counter(), {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"})
    for node in graph.nodes:
        if node.op != "call_module":
            continue
        module = modules[str(node.target)]
        uses.calls[names[id(module)]] += 1
        if isinstance(module, _BatchNorm):
            source = node.args[0] if node.args else None
            alone = isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1
            layer = names[id(modules[str(source.target)])] if alone and isinstance(source, fx.Node) else None
            uses.sources.setdefault(names[id(module)], []).append(layer)
    return uses


@torch.no_grad()
def run(model: nn.Module, example: Any) -> Uses:
    """Run the model on an example and observe what it does with the outputs of its layers.

    Raises:
        Exception: What the model raises for the example.
    """
    observer = _Observer(model)
    handles = observer.attach(model)
    try:
        with observer:
            output = call_model(model, example)
    finally:
        for handle in handles:
            handle.remove()
    observer.note_uses([x for x in tree_leaves(output) if isinstance(x, Tensor)])
    return observer.uses


class _Observer(DispatchMode):
    """Follows the outputs of layers, and reads of parameters outside of their module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.uses = Uses({}, Counter(), set())
        self._running: list[str] = []
        self._outputs: dict[int, tuple[str, Tensor]] = {}  # storage -> layer and its output, kept alive
        self._owners = {
            _address(x): name
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) or is_analog_layer(module)
            for x in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        }

    def attach(self, model: nn.Module) -> list[Any]:
        """Register hooks on layers and BatchNorms."""
        handles = []
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) or is_analog_layer(module):
                handles += [
                    module.register_forward_pre_hook(lambda module, args, name=name: self._enter(name, module, args)),
                    module.register_forward_hook(lambda module, args, out, name=name: self._leave(name, module, out)),
                ]
        return handles

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._running.append(name)
        self.uses.calls[name] += 1
        if isinstance(module, _BatchNorm):
            layer, output = self._outputs.get(_address(args[0]), (None, None)) if args else (None, None)
            self.uses.sources.setdefault(name, []).append(layer if args and args[0] is output else None)

    def _leave(self, name: str, module: nn.Module, out: Tensor) -> None:
        self._running.pop()
        if is_analog_layer(module):
            self._outputs[_address(out)] = (name, out)

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of an operation, which is noted as a use of its inputs."""
        self.note_uses([x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)])
        return func(*args, **kwargs)

    def note_uses(self, tensors: list[Tensor]) -> None:
        """Note outputs of layers and parameters that are used outside of the module that is to use them."""
        running = self._running[-1] if self._running else None
        for x in tensors:
            layer, _ = self._outputs.get(_address(x), (None, None))
            if layer is not None and (running is None or layer not in self.uses.sources.get(running, [])):
                self.uses.read.add(layer)
            owner = self._owners.get(_address(x))
            if owner is not None and owner != running:
                self.uses.read.add(owner)


def _address(tensor: Any) -> int:
    return tensor.untyped_storage().data_ptr() if isinstance(tensor, Tensor) else 0


def used_twice(model: nn.Module) -> set[int]:
    """Ids of the modules that have several names, and of the parameters that several modules have."""
    ids = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    ids.update(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    return {number for number, count in ids.items() if count > 1}


def preceding_layer(model: nn.Module, uses: Uses, norm_name: str, shared: set[int]) -> str | NotFoldable:
    """Name of the layer that a BatchNorm can be folded into, or the reason why there is none.

    `shared`: see `used_twice`.
    """
    norm = model.get_submodule(norm_name)
    assert isinstance(norm, _BatchNorm)
    if norm.running_mean is None:
        return NotFoldable("it keeps no running statistics")
    sources = uses.sources.get(norm_name, [])
    if not sources or sources[0] is None:
        return NotFoldable()
    layer_name = sources[0]
    layer = model.get_submodule(layer_name)
    matrices = list(analog_weights(layer).values()) if is_analog_layer(layer) else []
    if [norm.num_features] != [len(matrix.filters_first()) for matrix in matrices]:
        return NotFoldable()
    for module, name in ((layer, layer_name), (norm, norm_name)):
        if id(module) in shared or uses.calls[name] > 1 or name in uses.read:
            return NotFoldable(f"{name} is used in more than one place")
        if any(id(p) in shared for p in module.parameters(recurse=False)):
            return NotFoldable(f"{name} shares its weights with another layer")
        if module._forward_hooks or module._forward_pre_hooks:
            return NotFoldable(f"{name} has a forward hook")
    return layer_name

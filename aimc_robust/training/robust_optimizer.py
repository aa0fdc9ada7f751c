"""A training method as an optimizer, for existing training loops: `step(closure)` makes the whole update."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import CheckpointError, InputError, require_finite, require_type
from aimc_robust.noise.analog_weights import unwrap_model
from aimc_robust.noise.shards import local_part, reshard
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import ClosurePasses
from aimc_robust.training.weight_clipping import WeightClipping

STEPS = "method_steps"  # key of the state dict


class RobustOptimizer(torch.optim.Optimizer):
    """Run a method inside `step(closure)`, then let the base optimizer take the step.

    The closure runs once per pass of the method (twice for SAM and m-RWP), so anything it counts or logs is counted
    each time. Parameter groups and state are the base optimizer's: schedulers, hooks and checkpoints work as with any
    optimizer. The state dict also holds the number of updates, from which ramp and noise resume.

    Gradients: each update starts without gradients of its own parameters. The closure must clear them, so gradient
    accumulation over batches is not possible. Other parameters of `model` (those of another optimizer) get the update's
    gradient once, added to what the closure does not clear. On parameters outside both, every pass leaves its gradient.

    Args:
        optimizer: Base optimizer, made from `model.parameters()`.
        model: Model whose weights are perturbed, also inside DDP or torch.compile. The names of its layers seed the
            noise.
        method: Training method.
        clip_norm: Bound on the norm of the update's gradient over all parameter groups. Clipping in the closure, as
            Lightning's gradient_clip_val does, bounds each pass instead.
        weight_clipping: Clipping of the weights after each update, except of layers that the method keeps digital;
            None: none.

    Example:
        ```python
        optimizer = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, SAM(rho=0.05))
        optimizer.step(closure)  # closure: zero_grad, forward, backward, return the loss
        ```
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        method: Method,
        *,
        clip_norm: float | None = None,
        weight_clipping: WeightClipping | None = None,
    ) -> None:
        _check_optimizer(optimizer, model)
        _check_method(method)
        if clip_norm is not None:
            require_finite("clip_norm", clip_norm)
        require_type(
            "weight_clipping", weight_clipping, WeightClipping | None, example="WeightClipping(std=2.5), or None"
        )
        self.weight_clipping = weight_clipping
        # Without DDP's wrapper, which could withhold one pass's gradient and then average only a later one's, since the
        # closure clears what was withheld.
        self.base, self.model, self.method, self.clip_norm = optimizer, unwrap_model(model), method, clip_norm
        self.steps = 0
        self._last_gradients: list[tuple[nn.Parameter, Tensor, int]] = []  # (parameter, gradient, its version)
        # As unpickling does: own hooks, but no second set of groups and state, which Optimizer.__init__ would make.
        self.__setstate__({})

    # torch declares these three as attributes; here they delegate to the base optimizer.
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Parameter groups of the base optimizer, also after it has loaded a state dict."""
        return self.base.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # type: ignore[override]
        """State of the base optimizer."""
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Default settings of the base optimizer."""
        return self.base.defaults

    @property
    def strength(self) -> float | None:
        """Perturbation strength of the last update (before the first update, of that one), or None if there is none."""
        return self.method.strength(max(self.steps, 1))

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]  # tensor loss
        """Make one update.

        Args:
            closure: Clears gradients, runs forward and backward, and returns the loss. bf16 autocast belongs inside it.

        Returns:
            The loss that the gradient belongs to.
        """
        if not callable(closure):
            raise InputError(
                "RobustOptimizer.step needs a closure that clears gradients, runs forward and backward and returns the "
                "loss, since a method makes several passes. A GradScaler and Lightning's precision='16-mixed' step "
                "without one: use bfloat16 (precision='bf16-mixed'), or method.backward(..., scaler=scaler)."
            )
        reshard(self.model)
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        own_ids = {id(parameter) for parameter in own}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in own_ids]
        self._release_last_gradients()
        loss = self.method.gradient(self.model, ClosurePasses(closure, own, others), step=self.steps + 1)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(own, self.clip_norm)
        self.base.step()
        if self.weight_clipping is not None:
            self.weight_clipping.apply(self.model, method=self.method)
        self.steps += 1
        self._last_gradients = [(p, p.grad, local_part(p.grad)._version) for p in own if p.grad is not None]
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as the base optimizer does."""
        self._last_gradients = []
        self.base.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to the base optimizer."""
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state dict with the number of updates made."""
        for pre_hook in self._optimizer_state_dict_pre_hooks.values():
            pre_hook(self)
        state = {**self.base.state_dict(), STEPS: self.steps}
        for post_hook in self._optimizer_state_dict_post_hooks.values():
            replaced = post_hook(self, state)
            state = state if replaced is None else replaced
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict into the base optimizer and restore the number of updates, which it must hold."""
        state = dict(state_dict)
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = pre_hook(self, state)
            state = state if replaced is None else replaced
        if STEPS not in state:
            raise CheckpointError(
                f"the optimizer state has no {STEPS!r}, so ramp and noise cannot resume; add the number of updates "
                "made so far, or 0 to restart the method."
            )
        steps = state.pop(STEPS)
        self.base.load_state_dict(state)
        self.steps = steps
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("base", "model", "method", "clip_norm", "weight_clipping", "steps")
        return {name: getattr(self, name) for name in names} | {"_last_gradients": []}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.method!r}, {self.base!r})"

    def _release_last_gradients(self) -> None:
        """Clear the gradients of the last update; any other p.grad was set by someone else and stays."""
        for parameter, gradient, version in self._last_gradients:
            if parameter.grad is gradient and local_part(gradient)._version == version:
                parameter.grad = None
        self._last_gradients = []


def _check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    require_type("optimizer", optimizer, torch.optim.Optimizer, example="an instance of torch.optim.Optimizer")
    if isinstance(optimizer, RobustOptimizer | torch.optim.LBFGS):
        raise InputError(
            f"{type(optimizer).__name__} calls the closure itself, so it cannot be a base optimizer; use an optimizer "
            "that steps from p.grad, such as SGD or AdamW."
        )
    if any(isinstance(module, DistributedDataParallel) for module in unwrap_model(model).modules()):
        raise InputError("model has a submodule in a DDP wrapper; pass the wrapped submodule, or wrap the whole model.")
    parameters = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in parameters for group in optimizer.param_groups for parameter in group["params"]):
        raise InputError("the optimizer has none of the model's parameters; make it from model.parameters().")


def _check_method(method: Method) -> None:
    require_type("method", method, Method, example="an instance of Method, such as SAM(rho=0.05)")
    name = type(method).__name__
    if getattr(method, "parallel", False):
        raise InputError(f"workers of a parallel {name} read different batches; set parallel=False, batches='same'.")
    if method.batches_per_update != 1:
        raise InputError(
            f"{name} takes {method.batches_per_update} batches here, but an update through a closure has one batch; "
            "set batches='same'."
        )
    if getattr(method, "m", None) is not None:
        raise InputError(f"{name} splits its batch into micro-batches of m, which a closure cannot do; set m=None.")
    if method.ascent_pass and method.per_worker:
        raise InputError(
            f"DDP averages the gradient of each pass of a closure, so {name} cannot ascend along each worker's own; "
            "set per_worker=False."
        )
    method.ramp.factor(1)  # raises for a ramp whose length is still a fraction of the run

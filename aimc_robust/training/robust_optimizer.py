"""A method as an optimizer, for training loops that are not ours: `step(closure)` makes the whole update."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import CheckpointError, InputError, require_finite
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import ClosurePasses

STEPS = "method_steps"  # key of the state dict
ONE_BATCH = "an update through a closure has one batch"


class RobustOptimizer(torch.optim.Optimizer):
    """Runs a method inside `step(closure)`, then lets another optimizer take the step.

        optimizer = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, SAM(rho=0.05))
        optimizer.step(closure)    # closure: zero_grad, forward, backward, return the loss

    The closure runs once per pass of the method (twice for SAM and m-RWP), so whatever it counts or logs counts each.
    Parameter groups and state are the base optimizer's own: schedulers, hooks and checkpoints work as with any
    optimizer, and the state dict also holds the number of updates, from which ramp and noise go on.

    Of gradients: each update starts from none of its own parameters'; the closure must clear them, which leaves no
    room for accumulation over batches. The other parameters of `model` (another optimizer's) get the update's gradient
    once, on top of what the closure does not clear. On parameters outside both, each pass leaves its gradient.

    model: what is perturbed, also inside DDP or torch.compile; its layers' names decide the noise.
    clip_norm: bound on the norm of the update's gradient over all parameter groups. Clipping in the closure, as
        Lightning's gradient_clip_val does, bounds each pass.
    Raises InputError for a method that one batch per update cannot serve.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, method: Method, *, clip_norm: float | None = None
    ) -> None:
        _check_optimizer(optimizer, model)
        _check_method(method)
        if clip_norm is not None:
            require_finite("clip_norm", clip_norm)
        # Without DDP's wrapper, which could keep back a pass's gradient and then share a later one's alone: a closure
        # clears what was kept back.
        self.base, self.model, self.method, self.clip_norm = optimizer, unwrapped(model), method, clip_norm
        self.steps = 0
        self._left: list[tuple[nn.Parameter, Tensor, int]] = []
        # What unpickling does: hooks of our own, but no second set of groups and state as Optimizer.__init__ makes.
        self.__setstate__({})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The base optimizer's, also after it has loaded a state dict."""
        return self.base.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:
        """The base optimizer's."""
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's."""
        return self.base.defaults

    @property
    def strength(self) -> float | None:
        """sigma or rho of the last update; of the first one before it; None when the method has none."""
        return self.method.strength(max(self.steps, 1))

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:
        """Make one update; returns the loss that its gradient belongs to.

        closure: clears gradients, runs forward and backward, and returns the loss; bf16 autocast belongs inside it.
        Raises InputError without one, as when a GradScaler (float16) calls, and as `ClosurePasses` does.
        """
        if closure is None:
            raise InputError(
                "RobustOptimizer.step needs a closure that clears gradients, runs forward and backward and returns the "
                "loss, since a method makes several passes. A GradScaler and Lightning's precision='16-mixed' step "
                "without one: use bfloat16 (precision='bf16-mixed'), or method.backward(..., scaler=scaler)."
            )
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        mine = {id(parameter) for parameter in own}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in mine]
        self._drop_left()
        loss = self.method.gradient(self.model, ClosurePasses(closure, own, others), step=self.steps + 1)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(own, self.clip_norm)
        self.base.step()
        self.steps += 1
        self._left = [(p, p.grad, p.grad._version) for p in own if p.grad is not None]
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The base optimizer's."""
        self._left = []
        self.base.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """The base optimizer's."""
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's, and the number of updates made."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        state = {**self.base.state_dict(), STEPS: self.steps}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, state)
            state = state if changed is None else changed
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises CheckpointError for the state dict of a plain optimizer, which has no number of updates."""
        state = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state)
            state = state if changed is None else changed
        if STEPS not in state:
            raise CheckpointError(
                f"the optimizer state holds no {STEPS!r}, so ramp and noise cannot go on; add the number of updates "
                "that were made, 0 to begin the method anew."
            )
        steps = state.pop(STEPS)
        self.base.load_state_dict(state)
        self.steps = steps
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("base", "model", "method", "clip_norm", "steps")
        return {name: getattr(self, name) for name in names} | {"_left": []}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.method!r}, {self.base!r})"

    def _drop_left(self) -> None:
        """Let go of the gradients of our last update; any others in p.grad were put there by someone else."""
        for parameter, gradient, version in self._left:
            if parameter.grad is gradient and gradient._version == version:
                parameter.grad = None
        self._left = []


def _check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"optimizer must be a torch.optim.Optimizer that is made already, got {optimizer!r}.")
    if isinstance(optimizer, RobustOptimizer | torch.optim.LBFGS):
        raise InputError(
            f"{type(optimizer).__name__} calls the closure itself, so a method cannot run around it; use an optimizer "
            "that steps from p.grad, such as SGD or AdamW."
        )
    if any(isinstance(module, DistributedDataParallel) for module in unwrapped(model).modules()):
        raise InputError(
            "model has a DDP wrapper somewhere inside; pass what is inside of it, or wrap the whole model."
        )
    parameters = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in parameters for group in optimizer.param_groups for parameter in group["params"]):
        raise InputError("the optimizer has none of the model's parameters; make it from model.parameters().")


def _check_method(method: Method) -> None:
    if not isinstance(method, Method):
        raise InputError(f"method must be a Method that is made already, such as SAM(rho=0.05), got {method!r}.")
    name = type(method).__name__
    if getattr(method, "parallel", False):
        raise InputError(f"workers of a parallel {name} read batches of their own; set parallel=False, batches='same'.")
    if method.batches_per_update != 1:
        raise InputError(f"{name} takes {method.batches_per_update} batches here, and {ONE_BATCH}; set batches='same'.")
    if getattr(method, "m", None) is not None:
        raise InputError(f"{name} cuts its batch into parts of m, which a closure cannot; set m=None.")
    if method.ascent_pass and method.per_worker:
        raise InputError(
            f"DDP shares the gradient of each pass of a closure, so {name} cannot ascend on each worker's own; set "
            "per_worker=False."
        )
    method.ramp.factor(1)  # raises for a ramp whose length is still a fraction of the run

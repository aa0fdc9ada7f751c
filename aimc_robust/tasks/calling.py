"""Call a model with the inputs of a batch, and find its main output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import AimcError, DataError, InputError, is_out_of_memory
from aimc_robust.tasks.batches import map_tensors, tensors_in

OUTPUT_KEYS = ("logits", "prediction_logits", "out", "output", "scores")
"""Keys of a model's main output: transformers', torchvision's segmentation networks', and common ones."""


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Call a model: a tuple holds its positional arguments, a mapping its keyword arguments, all else is the argument.

    Inputs in float64, numpy's default, are converted to the model's dtype. The model gets copies, as it may write into
    them.

    Raises:
        InputError: if the model does not take the inputs.
    """
    if any(x.dtype == torch.float64 for x in tensors_in(inputs)):
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float64)
        inputs = map_tensors(inputs, lambda x: x.to(dtype) if x.dtype == torch.float64 else x)
    inputs = map_tensors(inputs, Tensor.clone)
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    except Exception as error:  # a user's model may raise anything
        if isinstance(error, AimcError) or is_out_of_memory(error):
            raise
        is_bytes = any(x.dtype == torch.uint8 for x in tensors_in(inputs))
        advice = "; pixels in bytes need the normalization of training" if is_bytes else ""
        reason = " ".join(str(error).split())
        raise InputError(f"the model takes other inputs than {describe(inputs)}: {reason}{advice}.") from error


def main_output(outputs: Any) -> Tensor:
    """Return the tensor that a task scores: the output itself, the first of a tuple, or that of one of OUTPUT_KEYS.

    Raises:
        DataError: if there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    keys = [key for key in OUTPUT_KEYS if isinstance(outputs, Mapping) and isinstance(outputs.get(key), Tensor)]
    keys = keys or [key for key in OUTPUT_KEYS if isinstance(getattr(outputs, key, None), Tensor)]
    if keys:
        output: Tensor = outputs[keys[0]] if isinstance(outputs, Mapping) else getattr(outputs, keys[0])
        return output
    if isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    names = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
    raise DataError(
        f"expected the model to return a tensor, or one as {', '.join(OUTPUT_KEYS)} or first of a tuple; got "
        f"{type(outputs).__name__}{names}. Wrap the model, or give a task whose `predict` returns the tensor."
    )


def describe(inputs: Any) -> str:
    """Return what a model was called with, as part of a sentence."""
    if isinstance(inputs, Tensor):
        return f"those of shape {tuple(inputs.shape)}, {inputs.dtype}"
    if isinstance(inputs, Mapping):
        return f"the keyword arguments {', '.join(f'{key} ({_short(value)})' for key, value in inputs.items())}"
    if isinstance(inputs, tuple):
        return f"the arguments ({', '.join(map(_short, inputs))})"
    return f"those of type {type(inputs).__name__}"


def _short(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__

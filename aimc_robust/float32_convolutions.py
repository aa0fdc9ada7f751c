"""Convolutions in float32 on a GPU, where torch computes them in TF32, with 11 bits, unless set otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


@contextmanager
def float32_convolutions() -> Iterator[None]:
    """Context manager, or decorator, in which convolutions on a GPU are computed in float32.

    What an evaluation measures is then the same as on a CPU, and converters round sums instead of errors of TF32.
    Matrix products follow `torch.set_float32_matmul_precision`, by default float32.
    """
    if not torch.cuda.is_initialized():  # then no tensor of this process is on a GPU
        yield
        return
    # Settings of torch 2.9 and later. Both, since torch refuses to read the older one where they differ from it.
    newer = [cudnn.conv, cudnn.rnn] if hasattr(cudnn, "conv") else []
    if newer and newer[0].fp32_precision == "ieee":
        yield
        return
    precisions = [setting.fp32_precision for setting in newer]
    try:
        allowed: bool | None = cudnn.allow_tf32
    except RuntimeError:  # the newer settings differ from it, and it may not be read
        allowed = None
    try:
        if allowed is not None:
            cudnn.allow_tf32 = False
        for setting in newer:
            setting.fp32_precision = "ieee"
        yield
    finally:
        if allowed is not None:
            cudnn.allow_tf32 = allowed
        for setting, precision in zip(newer, precisions, strict=True):
            setting.fp32_precision = precision

"""Whether an accelerator has to be waited for, on the simulated one and on a GPU."""

from contextlib import contextmanager

import torch


@contextmanager
def no_waits(device, *, uploads=True):
    """Context manager in which a value that is read on the host fails the test.

    On a GPU an error of torch does so; there, and without `uploads` on the simulated device, a copy to the device fails
    too. The host waits for both.
    """
    if device.type == "cuda":
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
        return
    with waits(device) as transfers:
        yield
    found = [*transfers.to_host, *([] if uploads else transfers.to_device)]
    assert not found, f"the host waits for the device: {'; '.join(found)}"


@contextmanager
def waits(device):
    """Context manager that returns what the simulated device transfers, see `Transfers`; nothing on a GPU."""
    from support.simulated.transfers import Transfers, recorded

    if device.type == "cuda":
        yield Transfers()
        return
    with recorded() as transfers:
        yield transfers

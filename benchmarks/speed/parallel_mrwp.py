"""Claim: an update of m-RWP over two processes takes at most 1.15 x an SGD update, where SAM's takes 2 x.

    python benchmarks/speed/parallel_mrwp.py [--small] [--batch 128] [--rounds 5] [--cores 0 1]

ResNet-18 in its CIFAR form, SGD with momentum, float32. Each process has one thread and its own core; the SGD and the
SAM update run in one process while the other waits. DDP's all-reduce (gloo) mixes the gradients. SGD over both
processes shows the cost of two busy cores and of the all-reduce. `--small` uses a batch of 16 and two rounds, for a
quick check to which the claim does not apply.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from common import images, print_ratios, ratios, resnet18_cifar
from torch import distributed, multiprocessing, nn, optim
from torch.nn.parallel import DistributedDataParallel

from aimc_robust import SAM, SGD, Method, MixedRWP

LIMITS = {"m-RWP, two processes": 1.15}


def work(rank: int, cores: list[int], batch: int, rounds: int, rendezvous: str) -> None:
    """Run the same calls in the same order in both processes; calls of one process run in the first only."""
    os.sched_setaffinity(0, {cores[rank]})
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    data = images(batch)

    def update(method: Method, *, together: bool):
        model = resnet18_cifar().train()
        model = DistributedDataParallel(model) if together else model
        optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def call() -> None:
            distributed.barrier()
            if together or rank == 0:
                optimizer.zero_grad()
                method.backward(model, nn.CrossEntropyLoss(), [data], step=1)
                optimizer.step()

        return call

    calls = {
        "m-RWP, two processes": update(MixedRWP(sigma=0.05, parallel=True), together=True),
        "SGD, two processes": update(SGD(), together=True),
        # One process: its ascent is not averaged over workers.
        "SAM, one process": update(SAM(rho=0.1, per_worker=True), together=False),
    }
    measured = ratios(update(SGD(), together=False), calls, rounds=rounds)
    if rank == 0:
        print_ratios(f"one update against SGD in one process, batches of {batch}", measured, LIMITS)
    distributed.barrier()
    distributed.destroy_process_group()


def same_core(cores: list[int]) -> bool:
    """Whether the two are threads of one physical core, which does not have twice the throughput."""
    names = [Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") for core in cores]
    return all(name.exists() for name in names) and names[0].read_text() == names[1].read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, nargs=2, default=sorted(os.sched_getaffinity(0))[:2])
    options = parser.parse_args()
    batch, rounds = (16, 2) if options.small else (options.batch, options.rounds)
    if len(options.cores) < 2:
        parser.error("this script needs two cores, one for each process.")
    if same_core(options.cores):
        print(
            f"cores {options.cores} are threads of one core: expect ratios above the claim; choose others with --cores."
        )
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        multiprocessing.spawn(work, args=(options.cores, batch, rounds, rendezvous), nprocs=2)


if __name__ == "__main__":
    main()

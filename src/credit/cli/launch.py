"""`credit train --launch`: the same command in several processes of this machine, through torchrun."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
from importlib.resources import files
from importlib.util import find_spec
from typing import NoReturn

from credit.errors import UserError

SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""What accelerate reads to shard a model with FSDP2."""
PATIENCE = 36_000
"""Seconds for which processes wait for the one that evaluates, unless --ddp_timeout says otherwise. Default: ours."""

GRACE = 600
"""Seconds a stopped launch leaves its processes to finish a step and save; torchrun's own 30 are few. Default: ours."""


def launch(kind: str, processes: int, argv: list[str], configured: bool = False) -> NoReturn:
    """Become torchrun: it runs `credit train` in several processes, and stops them when it is stopped.

    Args:
        kind: "ddp", "fsdp2" or "deepspeed".
        processes: how many; 0 is one per accelerator.
        argv: of the command; flags of the launch are passed on and do nothing there.
        configured: whether they name a DeepSpeed config; without, ours is ZeRO-3.
    """
    import torch

    devices = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    processes = processes or devices
    if processes < 2:
        raise UserError(f"--launch {kind} would start {processes} process(es). Set --nproc to 2 or more, or drop it.")
    if devices and processes > devices:
        raise UserError(f"--nproc {processes} is more than the {devices} accelerators here. Lower it.")
    if kind == "fsdp2" and not devices:
        raise UserError(
            "--launch fsdp2 needs accelerators: on the CPU accelerate goes on with DDP, in silence. Use --launch ddp."
        )
    if kind == "deepspeed":
        if find_spec("deepspeed") is None:
            raise UserError(
                "--launch deepspeed needs the package deepspeed. Run: pip install 'credit-distill[deepspeed]'"
            )
        argv = argv if configured else [*argv, "--deepspeed", str(files("credit.configs") / "zero3.json")]
    if "--ddp_timeout" not in argv:
        argv = [*argv, "--ddp_timeout", str(PATIENCE)]
    own = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE), **(SHARDED if kind == "fsdp2" else {})}
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    # After the two dashes torchrun takes no flag of ours for one of its own.
    command = [sys.executable, *command, "--", "credit", "train", *argv]
    print("launch: " + shlex.join([*(f"{k}={v}" for k, v in own.items()), *command]), flush=True)
    os.execve(sys.executable, command, {**os.environ, **own})


def leave(status: int) -> NoReturn:
    """End a rank: its group, what is registered for the end, and the process at once.

    On the interpreter's own way out threads of gloo sometimes abort, and a complete run would count as failed.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # what logging services still have to send
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

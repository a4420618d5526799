"""Started by torchrun with accelerate's FSDP variables: `credit` on shards, on the CPU. See test_launch.py."""

import os
import sys

from credit.cli import main
from ranks import shard_on_cpu

if __name__ == "__main__":
    shard_on_cpu()
    status = main(sys.argv[1:])
    # Threads of gloo sometimes abort the interpreter on its way out.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

"""Started by torchrun with accelerate's FSDP variables: `credit` on shards, on the CPU. See test_launch.py."""

import sys

from credit.cli import main
from credit.cli.launch import leave
from ranks import shard_on_cpu

if __name__ == "__main__":
    shard_on_cpu()
    leave(main(sys.argv[1:]))

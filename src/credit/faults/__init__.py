"""What may stop a run, and what is left then: kills, signals, disks, memory, numbers that are not finite."""

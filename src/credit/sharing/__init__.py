"""Giving a trained model away: its card, what of a run leaves the machine, and the sending of it."""

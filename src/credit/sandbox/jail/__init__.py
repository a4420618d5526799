"""What runs on the far side: the zygote, its guards and the program's last parent.

Started by `credit.sandbox.worker` as a top-level package of an interpreter of its own, so nothing in here may import
anything but the standard library and its neighbours.
"""

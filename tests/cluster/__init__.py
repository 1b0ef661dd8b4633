"""The whole cluster in one process, on simulated time."""

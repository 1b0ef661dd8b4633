"""For tests of others: whether a wire protocol of theirs keeps the rules of the session (docs/protocol-plugins.md).

Everything here is in memory and in simulated time: no port is opened, and nothing waits.
"""

"""Nodes of one server talking to one another, over Perspective Broker.

Every call carries one `bytes` argument and answers with `bytes`: an envelope (envelopes.py), or a piece of a stream of
frames (pieces.py). Nothing else is accepted, and everything is checked before it is used. Must not import services,
stores or web: what answers calls comes in through the interfaces of push.ipush and its neighbours.
"""

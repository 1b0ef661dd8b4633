"""The session over WebSocket (RFC 6455): JSON text or binary frames, on a port of its own or at a path of the API.

wsproto reads what clients send; what is sent to them is written here, as a push is encoded once for all of its
receivers. Must not import services, stores or web.
"""

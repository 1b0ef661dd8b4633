"""The private framed protocol, pure: bytes in, events and bytes out.

Shared by the server and by every client SDK. Imports only the standard library; knows no clock, no socket
and no log (times come in as arguments). The contract is docs/protocol.md.
"""

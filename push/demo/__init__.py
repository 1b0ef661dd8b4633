"""The demo for a terminal, `push-demo`: a client to look at, and a server to go with it. A client like any other.

docs/demo.md. Needs the extra `demo`, which is Textual; imports nothing of the server.
"""

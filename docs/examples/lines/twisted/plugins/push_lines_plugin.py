"""What the server finds: the name for --listen, and where the class is. There is no __init__.py in this folder."""

from push.protocols.plugin import LazyWireProtocol

lines = LazyWireProtocol("lines", "push_lines.protocol:LinesWireProtocol")

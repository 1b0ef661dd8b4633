"""What twistd finds of push: the command, its wire protocols, its endpoint. Must import nothing heavy."""

from twisted.application.service import ServiceMaker

from push.protocols.plugin import LazyWireProtocol
from push.transports.lean import LeanParser

push = ServiceMaker("push", "push.tap", "A push and messaging server.", "push")
framed = LazyWireProtocol("framed", "push.protocols.framed:FramedWireProtocol")
websocket = LazyWireProtocol("websocket", "push.protocols.websocket.plugin:WebSocketWireProtocol")
lean = LeanParser()

"""What twistd finds of push: the `push` command and its wire protocols. Must import nothing heavy."""

from twisted.application.service import ServiceMaker

from push.protocols.plugin import LazyWireProtocol

push = ServiceMaker("push", "push.tap", "A push and messaging server.", "push")
framed = LazyWireProtocol("framed", "push.protocols.tcp:FramedWireProtocol")

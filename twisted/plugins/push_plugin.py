from twisted.application.service import ServiceMaker
serviceMaker = ServiceMaker("push", "push.tap", "A push and messaging server.", "push")

"""The parts of the server, each behind an interface of push.ipush or its neighbours; wired together in push.roles."""

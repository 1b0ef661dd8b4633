"""The parts of the server, each behind an interface of push.ipush; wired together in push.roles."""

"""The HTTP API (Klein): thin routes that parse, authenticate, call an interface and answer."""

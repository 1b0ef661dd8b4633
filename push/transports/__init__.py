"""Ways for bytes to travel that Twisted does not have. Nothing here knows the protocols on top."""

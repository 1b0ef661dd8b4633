"""Groups and conversations: who is in them, what is said, who is told. Must not import adapters, stores or web."""

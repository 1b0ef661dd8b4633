"""A push and messaging server: connectors, routing, an HTTP API. See docs/architecture.md."""

__version__ = "0.1.0"

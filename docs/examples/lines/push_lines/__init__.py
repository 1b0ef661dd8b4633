"""An example of a wire protocol for push: JSON, one frame a line."""

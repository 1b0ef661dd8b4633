"""pushctl, the command-line client: speaks HTTP to the API and the wire protocol through aio_sdk."""

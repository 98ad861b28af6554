"""gRPC on top of HTTP/2: framing, metadata, status, deadlines, server, channel and the raw relay."""

"""Bytes on the wire: HTTP/2, gRPC, yamux, backchannels, sidechannels, listening and dialling."""

"""The services of the node: one module per Gitaly service (the repository service is a package), one method per RPC."""

"""What ``make bench`` runs: the proxy beside a direct call and beside a plain grpcio proxy, in one run."""

"""The control loops, one module per loop, all of one shape: health, election, replication, reconcile, verify, clean."""

"""OperationService: what users do to branches and tags through the front door, one module per kind."""

"""The request path, one module per step: auth, classify, route, forward, finalize; the coordinator strings them."""

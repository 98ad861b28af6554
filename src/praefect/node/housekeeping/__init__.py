"""Keeping repositories small and quick: what is stale, when to repack, one run per repository at a time."""

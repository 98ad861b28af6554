"""Highly available Git storage: proxy, storage node and front door.

The folders are the architecture; ``docs/architecture.md`` is the tour.
"""

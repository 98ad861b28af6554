"""Votes: subtransactions (pure), transactions, and the manager, the only part that waits."""

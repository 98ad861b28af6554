"""What user operations are made of: identities, trees, commits, merges and rebases, all made in a quarantine."""

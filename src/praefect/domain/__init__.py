"""The words and the rules: repository, replica, route, quorum, outcome, errors. No I/O and no async."""

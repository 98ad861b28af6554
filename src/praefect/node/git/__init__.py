"""Running git: the only place that starts it. Commands are lists of arguments, names and revisions are ``bytes``."""

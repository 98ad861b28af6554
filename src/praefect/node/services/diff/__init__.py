"""DiffService, cut by subject; ``service`` puts the parts together."""

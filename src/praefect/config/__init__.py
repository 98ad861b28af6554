"""Configuration: one model per section; TOML in, validated values out."""

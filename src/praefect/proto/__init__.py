"""Generated from proto/*.proto by ``make protos``; never edited."""

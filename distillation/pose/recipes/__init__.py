"""The recipes of pose that come along, one TOML file each."""

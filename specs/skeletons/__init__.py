"""The skeletons that come along, one TOML file each."""

"""Settings: fields, constraints, TOML files, presets and planned changes."""

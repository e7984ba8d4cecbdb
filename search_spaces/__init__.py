"""The search spaces that ship with the package, as YAML files."""

"""User input and files: paths, JSON, config fields; files and folders that are written whole."""

from minivit.files.paths import expanded, is_special, parse_json, replace

__all__ = ["expanded", "is_special", "parse_json", "replace"]

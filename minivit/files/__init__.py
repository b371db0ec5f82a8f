"""What a person names or writes: paths, JSON, the fields of a config; files and folders that appear whole."""

from minivit.files.paths import expanded, is_special, parse_json, replace

__all__ = ["expanded", "is_special", "parse_json", "replace"]

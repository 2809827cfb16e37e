"""One mine, one policy: typed YAML, its JSON Schema and errors with file and line. May import core."""

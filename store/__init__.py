"""Where things rest: readings in DuckDB or InfluxDB, relational state in SQLite. May import core."""

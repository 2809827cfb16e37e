"""One panel model per mine, drawn by web and rendered for Grafana. May import core and policy."""

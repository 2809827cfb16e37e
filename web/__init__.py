"""The live board, the login and the HTTP API. May import everything but simulator and app."""

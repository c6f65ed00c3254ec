"""The web service: serves the models of a folder over HTTP."""

"""Schemes that initialize a whole model in place."""

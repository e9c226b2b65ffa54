"""Protocols: how vectors become scores. A task names one protocol or several, with their settings."""

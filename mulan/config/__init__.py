"""The configuration of a run: frozen, validated sections with units in their field names. No I/O."""

"""What a run is: frozen, validated sections with units in their names. No I/O."""

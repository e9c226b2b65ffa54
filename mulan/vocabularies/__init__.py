"""The fixed lists of tags on which public data sets are evaluated."""

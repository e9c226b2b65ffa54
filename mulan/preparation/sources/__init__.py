"""The sources of recordings: folders, tables, tars, and the official layouts of public data sets, one module each."""

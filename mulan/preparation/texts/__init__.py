"""The rules, filters and joins of texts (MuLan §3.4)."""

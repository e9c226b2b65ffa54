"""End-to-end training of exported audio networks, the baseline of probes (MuLan table 4d, MuLaP §4.1)."""

"""Files by URI on local disks and in object stores: retries, errors with remedies, and caches of pretrained weights."""

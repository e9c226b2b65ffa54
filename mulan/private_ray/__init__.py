"""Every use of Ray's private interfaces, behind public interfaces of our own.

Decisions are made by the callers; this package only passes them to Ray. ``tests/private_ray/test_contract.py`` lists
the private interfaces that are used, and names those that another version of Ray lacks.
"""

"""All that mulan uses of Ray beyond its public interface, behind an interface of our own.

What is decided stays with whoever decides it; here is only how Ray is told. ``tests/private_ray/test_contract.py``
lists what this package needs of Ray, and says in words what another Ray no longer has.
"""

"""Verifies a chain as Python's cryptography does: for a server, by each of its
names; for a client, without any.

usage: verify.py server ROOTS CHAIN NAME...
       verify.py client ROOTS CHAIN
"""

import sys

from cryptography.x509 import DNSName, load_pem_x509_certificates
from cryptography.x509.verification import PolicyBuilder, Store


def load(path):
    with open(path, "rb") as file:
        return load_pem_x509_certificates(file.read())


usage, roots, chain, *names = sys.argv[1:]
leaf, *intermediates = load(chain)
policy = PolicyBuilder().store(Store(load(roots)))
if usage == "client":
    policy.build_client_verifier().verify(leaf, intermediates)
for name in names:
    policy.build_server_verifier(DNSName(name)).verify(leaf, intermediates)
    print(name)

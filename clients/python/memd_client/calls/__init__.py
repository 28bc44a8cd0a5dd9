"""Every call of the client, once: arguments in, a ``Call`` (request, and how to read the reply) out. Pure.

``Client`` and ``AsyncClient`` bind these functions as methods (see ``bind``), so signature and documentation are here.
The scope is the client's own; every call takes ``timeout_s`` in place of the client's.
"""

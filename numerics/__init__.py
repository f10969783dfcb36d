"""How it is computed: algorithms written once over the Array API.

Shared by all papers: ``samplers``, ``montecarlo``, ``rates``, ``transport``, ``sensing``.  Papers have the
names that they have in ``driftproof.theory``.
"""

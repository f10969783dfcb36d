"""What is true: closed forms, laws, processes, identities and bounds.

Shared by all papers: ``laws``, ``processes``, ``rewards``, ``divergences``, ``special``.  Papers:
``tweedie``, ``opd``, ``reward_gap``, ``transfer``, ``adjoint``, ``score_as_action``, ``csdm``, ``doob``, ``art``,
``diffpo``, ``rich_po``.
"""

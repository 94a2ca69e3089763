"""How data and models differ now from then: what was observed, compared."""

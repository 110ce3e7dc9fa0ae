"""Records to records: pure functions, and the few Beam steps that wire them."""

"""How large an installation has to be, by coefficients that were measured, and synthetic events to try it with."""

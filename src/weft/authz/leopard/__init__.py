"""Leopard: transitive group membership kept ready as sets, after section 3.2.4 of the Zanzibar paper."""

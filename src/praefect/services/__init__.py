"""The RPCs Praefect answers itself instead of forwarding them."""

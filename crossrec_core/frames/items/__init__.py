"""Catalogues in, what is known of an item besides its number out."""

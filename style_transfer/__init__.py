"""Style transfer by Gram matrices: Gatys, Ecker and Bethge 2015, 2016 (book, 8.5.1)."""

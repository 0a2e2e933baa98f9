"""Experiments that show what a network does: how it learns, and what it has learned.

`learning` repeats the experiments of the book's sixth chapter, `inside` looks into a trained
network (7.6 and 8.1). Both return arrays; `core.viz` draws them, and `python -m core.look`
does both.
"""

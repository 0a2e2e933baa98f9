"""Sentences about pictures: NIC and soft attention; see `python -m captioning`."""

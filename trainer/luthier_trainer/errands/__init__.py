"""Small jobs beside a resource's runs (docs/adr/0020): none of them imports torch."""

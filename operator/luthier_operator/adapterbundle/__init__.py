"""AdapterBundle: observe → decide → act → status, one file each."""

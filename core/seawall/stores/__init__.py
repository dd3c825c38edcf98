"""Where answers and requests are kept, behind a protocol each."""

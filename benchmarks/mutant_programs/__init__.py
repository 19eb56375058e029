"""Twenty small programs that train, mutations of them, and how well what comes of it learns."""
